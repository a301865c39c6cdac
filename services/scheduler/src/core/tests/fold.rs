use super::*;
use crate::core::fold::Fold;

#[test]
fn half_a_log_is_never_shown() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    given.admitted(1, 1);
    let mut shown = World::default();
    for reading in 0..3 {
        let mut fold = Fold::anew();
        for event in &given.events {
            assert!(!fold.take(&mut shown, |world| world.apply(event)));
            assert_eq!(shown.jobs.len(), usize::from(reading > 0), "what was known before stands");
        }
        fold.caught_up(&mut shown);
        assert_eq!((shown.jobs.len(), shown.sequence), (1, given.events.len() as u64));
        assert!(fold.take(&mut shown, |world| world.poison(99, None)), "what comes after is shown at once");
        assert_eq!(shown.sequence, 99);
    }
}
