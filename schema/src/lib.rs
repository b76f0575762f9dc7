//! Firestore's messages: protobuf, their JSON, the service's server side, and a client for tests; and the records of exports.
//!
//! The files under `proto/` are ours; names and numbers in them are the interface that Firestore's SDKs speak, and what a
//! message means is the door's business. `Value` and `Timestamp` have their JSON written by hand, because clients send
//! and expect forms that no generator makes.

mod base64;
pub mod codec;
mod value;
pub mod wkt;

/// The packages, nested as the generated code refers to them.
#[allow(clippy::all, missing_docs, unreachable_pub, rustdoc::all)]
pub mod google {
    /// Documents, queries and the service.
    pub mod firestore {
        /// Version 1, the only one that SDKs speak.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/google.firestore.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/google.firestore.v1.serde.rs"));
        }
    }
    /// Outcomes of single calls.
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
        include!(concat!(env!("OUT_DIR"), "/google.rpc.serde.rs"));
    }
    /// Points on the globe.
    pub mod r#type {
        include!(concat!(env!("OUT_DIR"), "/google.r#type.rs"));
        include!(concat!(env!("OUT_DIR"), "/google.r#type.serde.rs"));
    }
}

/// What exports hold.
#[allow(clippy::all, missing_docs, unreachable_pub, rustdoc::all)]
pub mod onestore {
    include!(concat!(env!("OUT_DIR"), "/onestore.rs"));
}

pub use google::firestore::v1;
pub use google::rpc;
pub use google::r#type::LatLng;
pub use pbjson_types as well_known;
