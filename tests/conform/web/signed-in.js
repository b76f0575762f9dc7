// How an app without Firebase's own accounts signs its users in to the Firestore SDK: it stands where the `auth` product would.

/**
 * Registers who is signed in; before `getFirestore` or `initializeFirestore`.
 *
 * @param {(component: any) => unknown} register `_registerComponent` of `firebase/app`
 * @param {string} uid
 * @param {string} token
 */
export function signIn(register, uid, token) {
  const auth = {
    getUid: () => uid,
    getToken: async () => ({ accessToken: token }),
    // Never before it has returned: the SDK would wait for another token.
    addAuthTokenListener: (/** @type {(token: string) => void} */ listener) => queueMicrotask(() => listener(token)),
    removeAuthTokenListener() {},
  };
  register({
    name: 'auth-internal', type: 'PRIVATE', instanceFactory: () => auth, instantiationMode: 'LAZY', multipleInstances: false,
    serviceProps: {}, onInstanceCreated: null,
  });
}
