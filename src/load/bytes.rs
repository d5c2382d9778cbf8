//! How many bytes a result has, against what this run's results have: a stand-in has far fewer. Pictures grow with their pixels; a mesh, or
//! a JSON that names a file, does not. Which of both it is, is learned from the run.

use std::collections::BTreeMap;

use crate::stats::median;

/// A smaller share of what is usual is no plausible result.
const PLAUSIBLE_SHARE: f64 = 0.2;
/// Results grow with pixels when those of the largest have more than this power of what their pixels promise.
const GROWS: f64 = 0.5;

/// What is usual, by the results from before the first fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Usual {
    /// Of so many pixels at the least.
    PerPixel { bytes: f64, fewest: f64 },
    /// Medians by the number of pixels: whether they grow was not seen, or they do not.
    Each(Vec<(f64, f64)>),
}

impl Usual {
    /// By these results: the pixels that they have, or that were asked for, and the bytes; whether all of them are images, which grow where
    /// nothing shows that they do not. `None` where there are none.
    pub fn of(results: &[(f64, f64)], are_images: bool) -> Option<Self> {
        let mut by_pixels: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (pixels, bytes) in results {
            by_pixels.entry(*pixels as u64).or_default().push(*bytes);
        }
        let medians: Vec<(f64, f64)> =
            by_pixels.into_iter().filter_map(|(pixels, mut all)| Some((pixels as f64, median(&mut all)?))).collect();
        let ((least, few), (most, many)) = (*medians.first()?, *medians.last()?);
        let is_one_size = most <= least;
        let grows = if is_one_size { are_images } else { many / few.max(1.0) >= (most / least.max(1.0)).powf(GROWS) };
        if !grows {
            return Some(Self::Each(medians));
        }
        let bytes = median(&mut results.iter().map(|(pixels, bytes)| bytes / pixels.max(1.0)).collect::<Vec<_>>())?;
        Some(Self::PerPixel { bytes, fewest: least })
    }

    /// The fewest bytes that a result may have for which so many pixels were asked, and which has so many, if it is an image.
    pub fn least(&self, asked: f64, has: Option<f64>) -> f64 {
        let usual = match self {
            // An image of a few pixels is small, and none of this run's.
            Self::PerPixel { bytes, fewest } => bytes * has.map_or(asked, |has| has.max(fewest.min(asked))),
            // What was asked for in another size may be smaller, and need not be larger.
            Self::Each(medians) => {
                let at_least = medians.iter().map(|(of, bytes)| bytes * (asked / of.max(1.0)).min(1.0));
                at_least.fold(f64::INFINITY, f64::min)
            }
        };
        PLAUSIBLE_SHARE * usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: f64 = 512.0 * 512.0;
    const LARGE: f64 = 2048.0 * 2048.0;

    #[test]
    fn what_grows_with_its_pixels_is_held_against_them_and_nothing_else_is() {
        let pictures = Usual::of(&[(SMALL, 100e3), (SMALL, 110e3), (LARGE, 1600e3)], true).unwrap();
        assert!(pictures.least(LARGE, Some(LARGE)) > 250e3 && pictures.least(SMALL, Some(SMALL)) < 25e3, "{pictures:?}");
        // A mesh, or a JSON with a link: as long for any size.
        for same in [Usual::of(&[(SMALL, 383.0), (LARGE, 385.0)], true).unwrap(), Usual::of(&[(SMALL, 383.0)], false).unwrap()] {
            assert!(same.least(LARGE, None) < 80.0 && same.least(LARGE, None) > 70.0, "{same:?}");
            assert!(same.least(SMALL / 4.0, None) < 20.0, "{same:?}");
        }
        assert!(
            Usual::of(&[(SMALL, 40e3)], true).unwrap().least(4.0 * SMALL, Some(4.0 * SMALL)) > 30e3,
            "a black one of four times the pixels"
        );
        let fixed = Usual::of(&[(SMALL, 40e3)], true).unwrap();
        assert!(fixed.least(LARGE, Some(SMALL)) < 10e3, "of a backend that makes one size");
        assert!(fixed.least(SMALL, Some(1.0)) > 7e3, "a stand-in of one pixel");
        assert_eq!(Usual::of(&[], true), None);
    }
}
