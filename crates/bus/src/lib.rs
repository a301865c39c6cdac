//! The one door to NATS: journal, followers, queues, questions.
