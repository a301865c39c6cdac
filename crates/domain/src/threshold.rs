//! When a node is short of something, said once when it begins and once when it ends.
//!
//! The accident that this prevents: a value that swings around its limit and tells people each minute, until they do not listen any
//! more and miss the disk that is full. So it is raised after several samples in a row, and cleared only well below the limit.

mod forecast;
#[cfg(test)]
mod tests;

pub use forecast::{DiskSample, Forecast, NoForecast, forecast};

use crate::FieldError;
use serde::{Deserialize, Serialize};

/// What is measured, as a percentage of what there is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Measure {
    /// Busy time of all processors.
    Cpu,
    /// Memory that is not available to a new program.
    Memory,
    /// Used room of one file system.
    Disk,
}

/// When a measure is too high, and when it is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// Too high from here on, 1 to 100.
    pub limit_percent: u8,
    /// Well again at this much below the limit, or less.
    #[serde(default = "usual_margin")]
    pub margin_percent: u8,
    /// How many samples in a row must be too high.
    #[serde(default = "usual_samples")]
    pub samples: u8,
}

fn usual_margin() -> u8 {
    5
}

fn usual_samples() -> u8 {
    3
}

impl Measure {
    /// The threshold of a node that has none of its own.
    pub fn usual(self) -> Threshold {
        let (limit_percent, samples) = match self {
            Self::Cpu | Self::Memory => (90, usual_samples()),
            // A disk does not swing, and each quarter of an hour counts.
            Self::Disk => (85, 1),
        };
        Threshold { limit_percent, margin_percent: usual_margin(), samples }
    }
}

impl Threshold {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if !(1..=100).contains(&self.limit_percent) {
            problems.push(FieldError::new("limit_percent", "must be 1 to 100"));
        }
        if self.margin_percent >= self.limit_percent {
            problems.push(FieldError::new(
                "margin_percent",
                "must be below limit_percent, or it would never clear",
            ));
        }
        if !(1..=100).contains(&self.samples) {
            problems.push(FieldError::new("samples", "must be 1 to 100"));
        }
        problems
    }

    fn is_over(&self, percent: f64) -> bool {
        percent >= f64::from(self.limit_percent)
    }

    fn is_well(&self, percent: f64) -> bool {
        percent <= f64::from(self.limit_percent) - f64::from(self.margin_percent)
    }
}

/// Where one measure stands against its threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whether people were told that it is too high, and not yet that it is well again.
    pub raised: bool,
    /// How many samples in a row were too high, while it is not raised.
    pub over: u8,
}

/// What a sample changes. Each is followed by the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Transition {
    /// It is too high.
    Crossed,
    /// It is well again.
    Cleared,
}

impl State {
    /// The state after one more sample, and what people are told of it. What is no number (NaN) was not measured and changes nothing.
    ///
    /// The threshold may be another one than before: what is well by the new one is cleared with the next sample.
    pub fn after(self, percent: f64, threshold: &Threshold) -> (Self, Option<Transition>) {
        if percent.is_nan() {
            return (self, None);
        }
        if self.raised {
            return match threshold.is_well(percent) {
                true => (Self::default(), Some(Transition::Cleared)),
                false => (self, None),
            };
        }
        if !threshold.is_over(percent) {
            return (Self::default(), None);
        }
        let over = self.over.saturating_add(1);
        match over >= threshold.samples {
            true => (Self { raised: true, over: 0 }, Some(Transition::Crossed)),
            false => (Self { raised: false, over }, None),
        }
    }
}
