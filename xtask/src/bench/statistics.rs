//! Medians of paired ratios, and how sure they are.

/// A ratio of Ottla to Apache Kafka over several pairs.
#[derive(Debug, Clone, Copy)]
pub struct Ratio {
    /// The median of the ratios pair by pair.
    pub median: f64,
    /// The 95 % bootstrap interval of the median.
    pub interval: (f64, f64),
}

/// How often the pairs are drawn anew for the interval.
const RESAMPLES: usize = 2000;

/// The middle value; the mean of the two middle values of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The ratio `ours[i] / theirs[i]` over all pairs. The same pairs give the same interval.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Ratio {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut draw = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<f64> = ratios.iter().map(|_| ratios[draw(ratios.len())]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Ratio {
        median: median(&ratios),
        interval: (medians[RESAMPLES * 25 / 1000], medians[RESAMPLES * 975 / 1000]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_knows_how_sure_it_is() {
        let ratio = ratio(&[1.0, 2.0, 3.0, 4.0], &[2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ratio.median, 0.5);
        assert_eq!(ratio.interval, (0.5, 0.5));
    }
}
