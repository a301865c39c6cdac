//! Ids, events, decisions: the pure core of Strongroom.
