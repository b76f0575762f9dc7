// Neighbours of a vector. The emulator knows them at the top of a document only.

import { all, by, field, from, where } from '../story.js';
import { double, value, vector } from '../wire.js';

const near = (path, numbers, distanceMeasure, limit = 10, more = {}) => ({ vectorField: field(path), queryVector: vector(...numbers).value, distanceMeasure, ...(limit !== null && { limit: { value: limit } }), ...more });

export default {
  'neighbours': async story => {
    await story.given({
      'v/a': { at: vector(1, 0), k: 1 }, 'v/b': { at: vector(0, 1), k: 1 }, 'v/c': { at: vector(3, 4), k: 2 }, 'v/d': { at: vector(-1, 0), k: 1 }, 'v/e': { at: vector(1, 0, 0), k: 1 }, 'v/f': { at: [1, 0] }, 'v/g': { k: 1 }, 'v/h': { at: vector(0, 0), k: 2 },
      'v/i': { at: vector(1, 0), k: 2 }, 'v/k': { at: vector(0.5, 0.5), k: 2, far: 'taken' }, 'v/l': { at: 'text' },
    });
    const measures = ['EUCLIDEAN', 'COSINE', 'DOT_PRODUCT'];
    const whole = { whole: true };
    for (const measure of measures) {
      const find = (step, findNearest, more = {}) => story.find(`${measure} ${step}`, { ...from('v'), findNearest, ...more }, whole);
      await find('all', near('at', [1, 0], measure));
      await find('two', near('at', [1, 0], measure, 2));
      await find('with distances', near('at', [1, 0.5], measure, 20, { distanceResultField: 'far' }));
      await find('with distances in a map', near('at', [1, 0.5], measure, 3, { distanceResultField: 'in.far' }));
      for (const threshold of [0, 0.5, 1, 2, -1, 100]) await find(`within ${threshold}`, near('at', [1, 0], measure, 20, { distanceThreshold: { value: threshold } }));
      await find('filtered', near('at', [0, 1], measure), { where: where('k', 'EQUAL', 2) });
      await find('selected', near('at', [0, 1], measure, 3, { distanceResultField: 'far' }), { select: { fields: [field('k'), field('far')] } });
      await find('selected without the distance', near('at', [0, 1], measure, 3, { distanceResultField: 'far' }), { select: { fields: [field('k')] } });
      await find('of three dimensions', near('at', [1, 1, 1], measure));
      await find('of none that is there', near('none', [1, 0], measure));
      await find('of the zero vector', near('at', [0, 0], measure));
    }
    const refused = (step, findNearest, more = {}) => story.find(step, { ...from('v'), findNearest, ...more });
    await refused('no field', { ...near('at', [1], 'COSINE'), vectorField: null });
    await refused('no vector', { ...near('at', [1], 'COSINE'), queryVector: null });
    await refused('a list for a vector', { ...near('at', [1], 'COSINE'), queryVector: value([double(1), double(2)]) });
    await refused('an empty vector', near('at', [], 'COSINE'));
    await refused('no measure', near('at', [1, 0], 0));
    await refused('no limit', near('at', [1, 0], 'COSINE', null));
    await refused('a limit of none', near('at', [1, 0], 'COSINE', 0));
    await refused('a limit below zero', near('at', [1, 0], 'COSINE', -1));
    await refused('a limit of 1000', near('at', [1, 0], 'COSINE', 1_000));
    await refused('a limit of 1001', near('at', [1, 0], 'COSINE', 1_001));
    await refused('2049 dimensions', near('at', Array.from({ length: 2_049 }, () => 1), 'COSINE'));
    await refused('a bad field for distances', near('at', [1, 0], 'COSINE', 3, { distanceResultField: 'a..b' }));
    await refused('the name for distances', near('at', [1, 0], 'COSINE', 3, { distanceResultField: '__name__' }));
    await refused('a reserved field for distances', near('at', [1, 0], 'COSINE', 3, { distanceResultField: '__x__' }));
    await refused('a limit beside', near('at', [1, 0], 'EUCLIDEAN', 5), { limit: { value: 2 } });
    await refused('an offset beside', near('at', [1, 0], 'EUCLIDEAN', 5), { offset: 1 });
    await refused('an order beside', near('at', [1, 0], 'EUCLIDEAN', 5), { orderBy: [by('k')] });
    await refused('an inequality beside', near('at', [1, 0], 'EUCLIDEAN', 5), { where: where('k', 'GREATER_THAN', 1) });
    await story.number('counted', { ...from('v'), findNearest: near('at', [1, 0], 'EUCLIDEAN', 3) }, [{ count: {} }]);
  },
};
