//! Real servers on free ports for the tests.
