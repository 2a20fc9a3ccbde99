//! Ours and the limit in turn, and what to make of the numbers.

use std::convert::Infallible;

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
    let Ok([row]) = try_run(pairs, || Ok::<_, Infallible>([ours()]), || Ok([limit()]));
    row
}

/// The same for several figures of each run, and for runs that can fail.
///
/// # Errors
/// That of the first run that failed.
pub fn try_run<const N: usize, E>(
    pairs: usize,
    mut ours: impl FnMut() -> Result<[f64; N], E>,
    mut limit: impl FnMut() -> Result<[f64; N], E>,
) -> Result<[Row; N], E> {
    ours()?;
    limit()?;
    let mut taken = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        taken.push(if pair % 2 == 0 {
            let x = ours()?;
            (x, limit()?)
        } else {
            let y = limit()?;
            (ours()?, y)
        });
    }
    Ok(std::array::from_fn(|figure| row(taken.iter().map(|(ours, limit)| (ours[figure], limit[figure])))))
}

fn row(pairs: impl Iterator<Item = (f64, f64)>) -> Row {
    let (mut ours, mut limit): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let mut ratios: Vec<f64> = ours.iter().zip(&limit).map(|(ours, limit)| ours / limit).collect();
    let ratio = quantile(&mut ratios, 0.5);
    let spread = (quantile(&mut ratios, 0.75) - quantile(&mut ratios, 0.25)) / ratio;
    Row { ours: quantile(&mut ours, 0.5), limit: quantile(&mut limit, 0.5), ratio, pairs: ratios.len(), spread }
}

/// The value below which this part of them lies; they are sorted then.
pub fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() - 1) as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
}
