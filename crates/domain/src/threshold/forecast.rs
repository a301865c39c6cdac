//! When a disk will be full, by a straight line through what it held.
//!
//! A forecast that jumps about is not believed when it is right. So there is none unless the line explains what was measured, and
//! it says why there is none.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// More samples than this are not looked at, oldest first: a month and more at one a quarter of an hour.
const MOST_SAMPLES: usize = 3000;
/// A line through fewer is a guess.
const FEWEST_SAMPLES: usize = 12;
/// Less than this sees no night and no nightly backup.
const SHORTEST: SignedDuration = SignedDuration::from_hours(24);
/// The part of the ups and downs that the line must explain (R squared).
const EXPLAINED: f64 = 0.5;
/// What is farther away than this is not shortage.
const FARTHEST_S: f64 = 5.0 * 365.0 * 86_400.0;

/// What a disk held at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSample {
    /// When.
    pub at: Timestamp,
    /// Used room.
    pub used_bytes: u64,
    /// Used and free room together.
    pub total_bytes: u64,
}

/// When a disk will be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "forecast", rename_all = "snake_case")]
pub enum Forecast {
    /// Then, if it goes on like this. Not before the newest sample.
    Full {
        /// The instant.
        at: Timestamp,
    },
    /// It cannot be said.
    Unknown {
        /// Why not.
        why: NoForecast,
    },
}

/// Why it cannot be said when a disk will be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NoForecast {
    /// There are too few samples since the disk has its size, or they span less than a day.
    TooFewSamples,
    /// It does not fill up.
    NotGrowing,
    /// It goes up and down too much for a line.
    Noisy,
    /// It will not be for five years.
    FarAway,
}

/// When the disk will be full, from samples in the order of time.
pub fn forecast(samples: &[DiskSample]) -> Forecast {
    match instant(samples) {
        Ok(at) => Forecast::Full { at },
        Err(why) => Forecast::Unknown { why },
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody waits for the byte at which a disk of petabytes is full"
)]
fn instant(samples: &[DiskSample]) -> Result<Timestamp, NoForecast> {
    let newest = samples.last().ok_or(NoForecast::TooFewSamples)?;
    if newest.used_bytes >= newest.total_bytes {
        return Ok(newest.at);
    }
    // A disk that was grown or exchanged begins anew.
    let same = samples.iter().rev().take_while(|sample| sample.total_bytes == newest.total_bytes);
    let points: Vec<(f64, f64)> = same
        .take(MOST_SAMPLES)
        .map(|sample| {
            let age_s = newest.at.duration_since(sample.at).as_secs_f64();
            (-age_s, sample.used_bytes as f64 - newest.used_bytes as f64)
        })
        .collect();
    let span_s = points.last().map_or(0.0, |(x, _)| -x);
    if points.len() < FEWEST_SAMPLES || span_s < SHORTEST.as_secs_f64() {
        return Err(NoForecast::TooFewSamples);
    }
    let line = Line::through(&points).filter(|line| line.slope > 0.0).ok_or(NoForecast::NotGrowing)?;
    if line.explained < EXPLAINED {
        return Err(NoForecast::Noisy);
    }
    let free = newest.total_bytes as f64 - newest.used_bytes as f64;
    let in_s = (free - line.at_zero) / line.slope;
    if in_s > FARTHEST_S {
        return Err(NoForecast::FarAway);
    }
    let wait = SignedDuration::try_from_secs_f64(in_s.max(0.0)).map_err(|_| NoForecast::FarAway)?;
    newest.at.checked_add(wait).map_err(|_| NoForecast::FarAway)
}

/// A line by least squares.
struct Line {
    slope: f64,
    at_zero: f64,
    /// R squared, 0 to 1.
    explained: f64,
}

impl Line {
    /// `None` when the points stand above one another.
    #[expect(clippy::cast_precision_loss, reason = "there are at most a few thousand points")]
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        let n = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let sum =
            |of: fn(f64, f64) -> f64| points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum::<f64>();
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        if xx <= 0.0 {
            return None;
        }
        let slope = xy / xx;
        let explained = if yy > 0.0 { slope * xy / yy } else { 0.0 };
        Some(Self { slope, at_zero: mean_y - slope * mean_x, explained })
    }
}
