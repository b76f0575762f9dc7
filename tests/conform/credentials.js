// What @google-cloud/firestore asks about its credentials. On REST it wants some also where an emulator is named.

/**
 * Credentials of whoever shows this key; without one, of the emulator's owner. `noted` is called for each request that is
 * sent with them.
 */
export function standIn({ bearer = 'owner', noted = () => {} } = {}) {
  const auth = {
    universeDomain: 'googleapis.com',
    getUniverseDomain: async () => 'googleapis.com',
    getProjectId: async () => 'conform',
    getClient: async () => auth,
    getRequestHeaders: async () => new Headers({ authorization: `Bearer ${bearer}` }),
    fetch: (...request) => {
      noted();
      return fetch(...request);
    },
  };
  return auth;
}
