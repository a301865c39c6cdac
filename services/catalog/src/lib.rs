//! Folds the log into views and answers questions.

pub mod core;
