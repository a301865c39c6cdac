//! How much room `borg compact` says that it has freed.

/// What borg says at its end (`Repository.compact_segments` of borg 1.2 and 1.4).
const SAID: &str = "compaction freed about ";

/// The bytes, out of its last lines; it rounds to three digits (`format_file_size`, powers of 1000).
pub fn freed_bytes(tail: &[String]) -> Option<u64> {
    let said = tail.iter().rev().find_map(|line| line.split_once(SAID))?.1;
    let mut words = said.split_whitespace();
    let (number, unit) = (words.next()?.parse::<f64>().ok()?, words.next()?);
    let power = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].iter().position(|known| *known == unit)?;
    let bytes = number * 1000_f64.powi(i32::try_from(power).ok()?);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates, and it is a size"
    )]
    (bytes.is_finite() && bytes >= 0.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_off_what_borg_says_and_off_nothing_else() {
        let freed = |line: &str| freed_bytes(&["before".to_owned(), line.to_owned(), "after".to_owned()]);
        assert_eq!(freed("compaction freed about 1.00 MB repository space."), Some(1_000_000));
        assert_eq!(freed("compaction freed about 35.85 kB repository space."), Some(35_850));
        assert_eq!(freed("compaction freed about 0 B repository space."), Some(0));
        assert_eq!(freed("compaction freed about 1.50 GB repository space."), Some(1_500_000_000));
        for odd in
            ["", "compaction freed about much", "compaction freed about -1 B", "compaction freed about 1 KiB"]
        {
            assert_eq!(freed(odd), None, "{odd}");
        }
    }
}
