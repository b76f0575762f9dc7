// Makes an app that uses Firebase's SDK talk to the hearth that this script comes from. A classic script, before the app's own:
//
//   <script src="http://127.0.0.1:8080/sdk/firebase-defaults.js"></script>
//
// Firebase's SDK looks for this object when it starts (`getDefaults` of @firebase/util). For development: the SDK takes what
// it finds here for an emulator, and shows no real tokens to it.
(function () {
  const here = new URL(document.currentScript.src);
  const project = document.currentScript.dataset.project || 'demo';
  self.__FIREBASE_DEFAULTS__ = {
    config: { projectId: project, apiKey: 'local', appId: 'local' },
    emulatorHosts: { firestore: here.host },
  };
})();
