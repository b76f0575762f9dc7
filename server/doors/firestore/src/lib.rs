//! Firestore's protocol: what the official SDKs speak.
