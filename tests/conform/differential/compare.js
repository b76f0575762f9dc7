// Tells every story to both servers and compares what they answered, step by step.

import { Telling } from './story.js';
import { STEPS } from './known.js';
import { Wire } from './wire.js';

/** Runs stories, `{ name: async telling => … }`; `hosts` are Hearth's and the emulator's. */
export async function compareStories(stories, hosts, run) {
  const differences = [];
  const known = new Map();
  let steps = 0;
  const wires = hosts.map(host => new Wire(host));
  const only = new RegExp(process.env.TEST_STORY ?? '');
  for (const [name, story] of Object.entries(stories)) {
    if (!only.test(name)) continue;
    const tellings = wires.map(wire => new Telling(wire, `story-${run}-${name.replaceAll(/[^a-z]+/g, '-').slice(0, 40)}`));
    const ended = await Promise.allSettled(tellings.map(async telling => {
      try {
        await story(telling);
      } finally {
        telling.close();
      }
    }));
    const [ours, theirs] = tellings.map(one => one.told);
    for (const [which, { reason }] of ended.entries()) {
      if (reason) differences.push(`story ${name} broke off at ${hosts[which]}: ${reason.stack ?? reason}`);
    }
    const theirsBy = new Map(theirs.map(one => [one[0], one]));
    const oursBy = new Map(ours.map(one => [one[0], one]));
    for (const step of new Set([...oursBy.keys(), ...theirsBy.keys()])) {
      steps++;
      const [, our, ourWords = ''] = oursBy.get(step) ?? [step, 'not asked'];
      const [, their, theirWords = ''] = theirsBy.get(step) ?? [step, 'not asked'];
      if (process.env.TEST_WORDS && ourWords && theirWords) console.log(`${name} › ${step}\n    ${ourWords}\n    ${theirWords}`);
      if (our === their) continue;
      const why = STEPS.find(one => one.at.test(`${name} › ${step}`) && (!one.theirs || one.theirs.test(`${their} ${theirWords}`)))?.why;
      if (why) known.set(why, (known.get(why) ?? 0) + 1);
      else differences.push(`story ${name} › ${step}\n  hearth:\n    ${our} ${ourWords}\n  emulator:\n    ${their} ${theirWords}`);
    }
  }
  wires.forEach(wire => wire.close());
  return { differences, known, steps };
}
