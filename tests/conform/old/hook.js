// Puts another version in the place of `firebase`, for tests that are not changed for it: `node --import ./hook.js`, with
// TEST_FIREBASE as `firebase10`, `firebase11` or, for the newest `@firebase/firestore` by itself, `@firebase`.

import { register } from 'node:module';

if (process.env.TEST_FIREBASE) {
  const resolve = `
    const here = ${JSON.stringify(import.meta.url)};
    const other = ${JSON.stringify(process.env.TEST_FIREBASE)};
    export const resolve = (name, context, next) =>
      name === 'firebase' || name.startsWith('firebase/')
        ? next(other + name.slice('firebase'.length), { ...context, parentURL: here })
        : next(name, context);
  `;
  register(`data:text/javascript,${encodeURIComponent(resolve)}`);
}
