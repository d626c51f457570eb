// The statistics of benchmark/analysis/statistics.py and significance.py. tests/test_page_browser.py compares the results.

const LEVEL = 0.05;
const TIE = 1e-9; // values have fewer decimals, so smaller differences are rounding errors

/** The probability that |T| exceeds t >= 0, for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4). */
function twoSided(t, degrees) {
  const angle = Math.atan(t / Math.sqrt(degrees)), cosine = Math.cos(angle), odd = degrees % 2 === 1;
  let term = odd ? cosine : 1, sum = degrees === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k < degrees; k += 2) {
    term *= (cosine * cosine * (k - 1)) / k;
    sum += term;
  }
  return 1 - (odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum);
}

/** The standard error of the mean. */
function standardError(values, mean) {
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1) / values.length);
}

/** quantiles: of Student's t for the 95 % interval, by number of values; fewest: smallest number of values for an interval */
function estimate(values, { t: quantiles, fewest }) {
  const n = values.length, mean = n ? values.reduce((sum, value) => sum + value, 0) / n : NaN;
  return { mean, n, half: n < fewest ? NaN : quantiles[n] * standardError(values, mean) };
}

const constant = (values) => Math.max(...values) - Math.min(...values) < TIE;

/** The paired difference: {mean, half, n, wins, p}; half and p are NaN if there is no test. */
function paired(ours, theirs, limits) {
  const each = ours.map((value, place) => value - theirs[place]), found = estimate(each, limits);
  const wins = each.filter((value) => value > TIE).length;
  if (found.n < limits.fewest || constant(each)) return { ...found, half: NaN, p: NaN, wins };
  return { ...found, wins, p: twoSided(Math.abs(found.mean) / standardError(each, found.mean), found.n - 1) };
}

/** Adjusted p values. NaN stays NaN and does not count in the adjustment. */
function holm(p) {
  const order = [...p.keys()].filter((place) => !Number.isNaN(p[place])).sort((a, b) => p[a] - p[b]);
  const adjusted = p.map(() => NaN);
  let largest = 0;
  order.forEach((place, rank) => {
    largest = Math.min(1, Math.max(largest, (order.length - rank) * p[place]));
    adjusted[place] = largest;
  });
  return adjusted;
}

/** For each list of values (same trials, larger is better), whether its method may be the best one. */
function mayBeBest(lists) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const found = lists.map((values) => ({ values, mean: mean(values) }));
  const order = [...found].sort((one, other) => other.mean - one.mean); // only a better mean can win, and the best means win most often
  const beats = (other, own) => {
    const each = other.values.map((value, place) => value - own.values[place]), ahead = other.mean - own.mean;
    return !constant(each) && twoSided(ahead / standardError(each, ahead), each.length - 1) / 2 < LEVEL / (lists.length - 1);
  };
  const isOut = (own) => {
    for (const other of order) {
      if (other.mean <= own.mean) return false;
      if (beats(other, own)) return true;
    }
    return false;
  };
  return found.map((own) => !isOut(own));
}
