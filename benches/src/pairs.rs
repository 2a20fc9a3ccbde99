//! Ours and the limit in turn, and what to make of the numbers.

/// The figures of one case.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Median of ours.
    pub ours: f64,
    /// Median of the limit.
    pub limit: f64,
    /// Median of the ratios pair by pair: robust against a machine whose speed drifts.
    pub ratio: f64,
    /// How many pairs.
    pub pairs: usize,
    /// Distance between the quartiles of the ratios, as a part of their median.
    pub spread: f64,
}

/// Runs ours and the limit alternately, the order changing with each pair, after one pair that does not count.
pub fn run(pairs: usize, mut ours: impl FnMut() -> f64, mut limit: impl FnMut() -> f64) -> Row {
    ours();
    limit();
    let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (x, y) = if pair % 2 == 0 {
            let x = ours();
            (x, limit())
        } else {
            let y = limit();
            (ours(), y)
        };
        a.push(x);
        b.push(y);
        ratios.push(x / y);
    }
    let ratio = quantile(&mut ratios, 0.5);
    let spread = (quantile(&mut ratios, 0.75) - quantile(&mut ratios, 0.25)) / ratio;
    Row { ours: quantile(&mut a, 0.5), limit: quantile(&mut b, 0.5), ratio, pairs, spread }
}

fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() - 1) as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
}
