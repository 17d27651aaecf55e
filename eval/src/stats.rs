//! The estimates and intervals of SEMANTICS section 6, as pure functions.

/// The two-sided 95 % quantile of the normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval for `successes` of `n`. `None` for no trials.
pub fn wilson95(successes: u64, n: u64) -> Option<[f64; 2]> {
    if n == 0 {
        return None;
    }
    let (successes, n) = (successes as f64, n as f64);
    let p = successes / n;
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends the formula is exact; rounding may leave it a hair outside.
    let low = if successes == 0.0 { 0.0 } else { centre - half };
    let high = if successes == n { 1.0 } else { centre + half };
    Some([low, high])
}

/// The unbiased estimate of pass@k from `c` passes in `n` samples: 1 − C(n−c, k) / C(n, k).
/// `None` if there are fewer than `k` samples, or `k` is 0.
pub fn pass_at_k(n: u64, c: u64, k: u64) -> Option<f64> {
    if k == 0 || k > n || c > n {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    if k == 1 {
        // Exactly c / n, where the product below would round.
        return Some(c as f64 / n as f64);
    }
    let all_fail: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - all_fail)
}

/// The two-sided p value of the exact McNemar test, from how many pairs went up and how many went
/// down; pairs that stayed say nothing. 1 where none changed.
pub fn mcnemar_exact(up: u64, down: u64) -> f64 {
    let n = up + down;
    if n == 0 {
        return 1.0;
    }
    // Twice the smaller tail of a fair coin. In logarithms: 0.5^n is 0 from n = 1075 on.
    let log_factorials: Vec<f64> = std::iter::once(0.0)
        .chain((1..=n).scan(0.0, |sum, i| {
            *sum += (i as f64).ln();
            Some(*sum)
        }))
        .collect();
    let log_choose = |k: u64| {
        log_factorials[n as usize] - log_factorials[k as usize] - log_factorials[(n - k) as usize]
    };
    let log_half = n as f64 * 0.5_f64.ln();
    let tail: f64 = (0..=up.min(down))
        .map(|k| (log_choose(k) + log_half).exp())
        .sum();
    (2.0 * tail).min(1.0)
}

/// Holm's adjusted p values, in the order given: reject where the adjusted one is below the level.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        largest = largest.max((factor * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// The arithmetic mean, summed in the order given. `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

/// The `q` quantile (0 to 1) of ascending values, by linear interpolation between the two nearest
/// ranks: position `q * (len - 1)`. `None` for no values.
pub fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    let weight = position - below as f64;
    Some(ascending[below] + (ascending[above] - ascending[below]) * weight)
}

/// How a bootstrap was made; recorded beside its intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bootstrap {
    /// Seed of the generator.
    pub seed: u64,
    /// How many resamples are drawn.
    pub resamples: u32,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            seed: 0,
            resamples: 10_000,
        }
    }
}

impl Bootstrap {
    /// The 95 % percentile interval of the mean: resamples problems with replacement and takes the
    /// 2.5 % and 97.5 % quantiles of the means. The same values in the same order give the same
    /// interval on every machine. `None` for no values.
    pub fn mean95(&self, values: &[f64]) -> Option<[f64; 2]> {
        let means = self.means(values)?;
        Some([quantile(&means, 0.025)?, quantile(&means, 0.975)?])
    }

    /// A two-sided p value for the mean being 0, for differences of pairs: twice the smaller share
    /// of resampled means on either side of 0. `None` for no values.
    pub fn p_of_no_difference(&self, differences: &[f64]) -> Option<f64> {
        if differences.iter().all(|difference| *difference == 0.0) {
            return (!differences.is_empty()).then_some(1.0);
        }
        let means = self.means(differences)?;
        let share = |holds: fn(&&f64) -> bool| {
            // One more on either side: no resample can show a p of 0.
            (means.iter().filter(holds).count() + 1) as f64 / (means.len() + 1) as f64
        };
        let (low, high) = (share(|mean| **mean <= 0.0), share(|mean| **mean >= 0.0));
        Some((2.0 * low.min(high)).min(1.0))
    }

    /// The means of all resamples, ascending.
    fn means(&self, values: &[f64]) -> Option<Vec<f64>> {
        if values.is_empty() || self.resamples == 0 {
            return None;
        }
        let mut random = SplitMix64(self.seed);
        let mut means: Vec<f64> = (0..self.resamples)
            .map(|_| {
                let sum: f64 = (0..values.len())
                    .map(|_| values[random.below(values.len())])
                    .sum();
                sum / values.len() as f64
            })
            .collect();
        means.sort_by(f64::total_cmp);
        Some(means)
    }
}

/// Sebastiano Vigna's SplitMix64: small, and the same for ever, which a library's default
/// generator does not promise.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, uniform up to a bias of `bound` / 2^64.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() < 1e-9
    }

    #[test]
    fn wilson_agrees_with_published_values() {
        // statsmodels.stats.proportion.proportion_confint(c, n, method="wilson")
        let cases = [
            (0, 10, 0.0, 0.277_532_799_862_889_25),
            (10, 10, 0.722_467_200_137_110_7, 1.0),
            (1, 2, 0.094_531_205_734_230_74, 0.905_468_794_265_769_3),
        ];
        for (c, n, low, high) in cases {
            let [a, b] = wilson95(c, n).expect("trials");
            assert!(close(a, low) && close(b, high), "case: {c} of {n}: {a} {b}");
        }
        assert_eq!(wilson95(0, 0), None);
        // SEMANTICS: n = 117 at 55 % is ± 8.9 percentage points.
        let [low, high] = wilson95(64, 117).expect("trials");
        assert!(((high - low) / 2.0 - 0.089).abs() < 0.001, "{low} {high}");
    }

    #[test]
    fn pass_at_k_is_unbiased() {
        let cases = [
            (1, 1, 1, Some(1.0)),
            (1, 0, 1, Some(0.0)),
            (5, 2, 1, Some(0.4)),
            (10, 3, 5, Some(1.0 - 21.0 / 252.0)),
            (10, 6, 5, Some(1.0)),
            (200, 1, 100, Some(0.5)),
            (4, 1, 5, None),
            (4, 1, 0, None),
        ];
        for (n, c, k, expected) in cases {
            match (pass_at_k(n, c, k), expected) {
                (Some(a), Some(b)) => assert!(close(a, b), "case: {n} {c} {k}: {a}"),
                (a, b) => assert_eq!(a, b, "case: {n} {c} {k}"),
            }
        }
        // Against the definition, by counting subsets of 8 samples.
        for passes in 0..=8_u32 {
            for k in 1..=8_u32 {
                let subsets = (0..256_u32).filter(|set| set.count_ones() == k);
                let (mut hit, mut all) = (0.0, 0.0);
                for set in subsets {
                    all += 1.0;
                    hit += f64::from(u8::from(set & ((1 << passes) - 1) != 0));
                }
                let estimate = pass_at_k(8, passes.into(), k.into()).expect("k <= n");
                assert!(close(estimate, hit / all), "case: {passes} of 8, k = {k}");
            }
        }
    }

    #[test]
    fn mcnemar_agrees_with_published_values() {
        // scipy.stats.binomtest(min(b, c), b + c).pvalue
        let cases = [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (5, 0, 0.0625),
            (10, 2, 0.038_574_218_75),
            (7, 7, 1.0),
            (9, 1, 0.021_484_375),
        ];
        for (up, down, expected) in cases {
            let p = mcnemar_exact(up, down);
            assert!(close(p, expected), "case: {up} {down}: {p}");
            assert!(close(mcnemar_exact(down, up), p));
        }
        let far = mcnemar_exact(5000, 4000);
        assert!(far > 0.0 && far < 1e-20, "{far}");
    }

    #[test]
    fn holm_is_the_step_down_procedure() {
        // statsmodels.stats.multitest.multipletests(p, method="holm")
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (a, b) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!(close(*a, b), "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_bootstrapped_p_value_shows_a_difference() {
        let bootstrap = Bootstrap::default();
        let p = |values: &[f64]| bootstrap.p_of_no_difference(values).expect("values");
        assert!(p(&[0.2; 50]) < 0.001);
        assert_eq!(p(&[0.0; 50]), 1.0);
        let balanced: Vec<f64> = (0..50)
            .map(|i| if i % 2 == 0 { 0.5 } else { -0.5 })
            .collect();
        assert!(p(&balanced) > 0.5);
        assert_eq!(bootstrap.p_of_no_difference(&[]), None);
    }

    #[test]
    fn quantiles_interpolate() {
        let values = [1.0, 2.0, 4.0, 8.0];
        let cases = [
            (0.0, 1.0),
            (0.5, 3.0),
            (0.9, 6.8),
            (1.0, 8.0),
            (1.0 / 3.0, 2.0),
        ];
        for (q, expected) in cases {
            let found = quantile(&values, q).expect("values");
            assert!(close(found, expected), "case: {q}: {found}");
        }
        assert_eq!(quantile(&[3.0], 0.9), Some(3.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn bootstrap_is_reproducible_and_about_right() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let bootstrap = Bootstrap {
            seed: 1,
            resamples: 2_000,
        };
        let [low, high] = bootstrap.mean95(&values).expect("values");
        // Normal approximation: 0.25 ± 1.96 * sqrt(0.25 * 0.75 / 400) = 0.25 ± 0.0424.
        assert!(
            (low - 0.2076).abs() < 0.006 && (high - 0.2924).abs() < 0.006,
            "{low} {high}"
        );
        assert_eq!(bootstrap.mean95(&values), Some([low, high]));
        let smooth: Vec<f64> = (0..400).map(f64::from).collect();
        let other_seed = Bootstrap {
            seed: 2,
            ..bootstrap
        };
        assert_ne!(other_seed.mean95(&smooth), bootstrap.mean95(&smooth));
        assert_eq!(bootstrap.mean95(&[0.5; 7]), Some([0.5, 0.5]));
        assert_eq!(bootstrap.mean95(&[]), None);
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // First outputs of the reference implementation for seed 1234567.
        let mut random = SplitMix64(1_234_567);
        let expected = [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973];
        assert_eq!([random.next(), random.next()], expected);
    }
}
