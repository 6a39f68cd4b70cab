//! Scores and truth of pixels.

use super::ranking::{Ranking, pack, region};
use super::regions::regions;
use super::{Metric, Undefined};
use inctrl::internals::collected;

/// Collects the pixels of many images, with the regions of their masks.
#[derive(Clone, Debug, Default)]
pub struct Pixels {
    samples: Vec<u64>,
    regions: u32,
    masks: usize,
    unseen_defect: u64,
}

/// The pixels of many images, sorted by score.
#[derive(Clone, Debug)]
pub struct PixelRanking {
    ranking: Ranking,
    /// Seen pixels of each region. Regions without seen pixels do not count.
    sizes: Vec<u32>,
}

impl Pixels {
    /// Without pixels.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, with memory for `count`.
    ///
    /// # Errors
    /// [`inctrl::ErrorKind::Device`] where it is not there.
    pub fn for_pixels(count: usize) -> inctrl::Result<Self> {
        Ok(Pixels { samples: collected("the pixels of a class", count, std::iter::empty())?, ..Self::default() })
    }

    /// Bytes that `count` pixels take.
    pub fn bytes(count: usize) -> usize {
        count.saturating_mul(size_of::<u64>())
    }

    /// Adds an image with rows of `width` pixels: each pixel's value, NaN where the model does not see it, and the
    /// defect mask, or `None` for a normal image.
    ///
    /// Pixels that the model does not see are left out, as in the published evaluation, which crops image and mask.
    ///
    /// # Errors
    /// [`Undefined::Lengths`] if there are not as many values as mask pixels.
    pub fn add(&mut self, values: &[f32], mask: Option<&[bool]>, width: usize) -> Result<(), Undefined> {
        let Some(mask) = mask else {
            self.samples.extend(values.iter().filter(|value| !value.is_nan()).map(|&value| pack(value, 0)));
            return Ok(());
        };
        if mask.len() != values.len() {
            return Err(Undefined::Lengths);
        }
        let (numbers, count) = regions(mask, width);
        for (&value, &number) in values.iter().zip(&numbers) {
            match (value.is_nan(), number) {
                (false, 0) => self.samples.push(pack(value, 0)),
                (false, number) => self.samples.push(pack(value, self.regions + number)),
                (true, 0) => {}
                (true, _) => self.unseen_defect += 1,
            }
        }
        self.regions += count;
        self.masks += 1;
        Ok(())
    }

    /// Number of defect pixels that the model does not see.
    pub fn unseen_defect(&self) -> u64 {
        self.unseen_defect
    }

    /// Sorts the pixels.
    ///
    /// # Errors
    /// [`Undefined::NoMasks`] if no image had a mask.
    pub fn rank(self) -> Result<PixelRanking, Undefined> {
        if self.masks == 0 {
            return Err(Undefined::NoMasks);
        }
        let mut sizes = vec![0; self.regions as usize + 1];
        for &sample in &self.samples {
            sizes[region(sample) as usize] += 1;
        }
        sizes[0] = 0;
        Ok(PixelRanking { ranking: Ranking::sorted(self.samples), sizes })
    }
}

impl PixelRanking {
    /// The pixels without their regions: AUROC, average precision, F1.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Area under the per-region overlap up to a false positive rate of `limit` (0.3 in papers), divided by `limit`.
    ///
    /// The overlap of a threshold is the share of each region that it finds, averaged over regions with equal weight.
    /// The curve is linear between thresholds, and at the limit.
    ///
    /// # Errors
    /// [`Undefined::NoAnomalous`] if no defect pixel is seen, [`Undefined::NoNormal`] if no normal pixel is.
    pub fn aupro(&self, limit: f64) -> Metric {
        self.ranking.both_kinds()?;
        let limit = limit.clamp(f64::MIN_POSITIVE, 1.0);
        let counted = self.sizes.iter().filter(|&&size| size > 0).count() as f64;
        let weights: Vec<f64> =
            self.sizes.iter().map(|&size| if size > 0 { 1.0 / (f64::from(size) * counted) } else { 0.0 }).collect();
        let (mut area, mut wrong, mut overlap, mut rate) = (0.0, 0, 0.0, 0.0);
        for tied in self.ranking.tied() {
            let gained: f64 = tied.iter().map(|&sample| weights[region(sample) as usize]).sum();
            wrong += tied.iter().filter(|&&sample| region(sample) == 0).count() as u64;
            let (next_rate, next_overlap) = (wrong as f64 / self.ranking.normal() as f64, overlap + gained);
            if next_rate > limit {
                let at_limit = overlap + gained * (limit - rate) / (next_rate - rate);
                return Ok((area + 0.5 * (limit - rate) * (overlap + at_limit)) / limit);
            }
            area += 0.5 * (next_rate - rate) * (overlap + next_overlap);
            (rate, overlap) = (next_rate, next_overlap);
        }
        // All pixels found: a rate of 1, within the limit only if the limit is 1.
        Ok(area / limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(values: &[f32], mask: &[bool], width: usize) -> PixelRanking {
        let mut pixels = Pixels::new();
        pixels.add(values, Some(mask), width).unwrap();
        pixels.rank().unwrap()
    }

    #[test]
    fn a_small_region_counts_as_much_as_a_large_one() {
        // A region of one pixel, found first; one of three, found after half of the normal pixels.
        let values = [0.9, 0.5, 0.1, 0.2, 0.2, 0.2];
        let mask = [true, false, false, true, true, true];
        let mut pixels = Pixels::new();
        pixels.add(&values[..3], Some(&mask[..3]), 3).unwrap();
        pixels.add(&values[3..], Some(&mask[3..]), 3).unwrap();
        let ranking = pixels.rank().unwrap();
        // Overlap 0.5 up to a rate of 0.5, then 1.
        assert_eq!(ranking.aupro(1.0), Ok(0.75));
        assert_eq!(ranking.aupro(0.5), Ok(0.5));
    }

    #[test]
    fn a_perfect_map_has_area_1_and_a_constant_one_that_of_the_diagonal() {
        let mask = [true, false, false, false, true, false];
        assert_eq!(ranked(&[1.0, 0.0, 0.1, 0.2, 1.0, 0.0], &mask, 3).aupro(0.3), Ok(1.0));
        let constant = ranked(&[0.5; 6], &mask, 3).aupro(0.3).unwrap();
        assert!((constant - 0.15).abs() <= 1e-15, "{constant}");
    }

    #[test]
    fn what_is_not_seen_does_not_count() {
        let mask = [true, true, false, false];
        let mut pixels = Pixels::new();
        pixels.add(&[1.0, f32::NAN, 0.0, f32::NAN], Some(&mask), 4).unwrap();
        assert_eq!(pixels.unseen_defect(), 1);
        let ranking = pixels.rank().unwrap();
        assert_eq!((ranking.ranking().normal(), ranking.ranking().anomalous()), (1, 1));
        assert_eq!(ranking.aupro(0.3), Ok(1.0));
    }

    #[test]
    fn undefined_says_why() {
        let mut pixels = Pixels::new();
        pixels.add(&[1.0, 0.0], None, 2).unwrap();
        assert_eq!(pixels.add(&[1.0], Some(&[]), 1), Err(Undefined::Lengths));
        assert_eq!(pixels.clone().rank().unwrap_err(), Undefined::NoMasks);
        pixels.add(&[1.0, 0.0], Some(&[false, false]), 2).unwrap();
        assert_eq!(pixels.rank().unwrap().aupro(0.3), Err(Undefined::NoAnomalous));
        assert_eq!(ranked(&[1.0], &[true], 1).aupro(0.3), Err(Undefined::NoNormal));
    }
}
