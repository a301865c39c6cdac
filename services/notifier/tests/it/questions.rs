//! What the notifier answers.

use crate::stage::{Stage, verified};
use strongroom_bus::{AskError, Position};
use strongroom_domain::view::ChannelTest;
use strongroom_domain::{ChannelId, Rejection};
use strongroom_testkit::HttpSink;

async fn test(stage: &Stage, channel: &str) -> Result<ChannelTest, AskError> {
    let channel: ChannelId = channel.parse().unwrap();
    // The definition has just been written, and the test must know it.
    let (generation, sequence) = stage.gateway.log_state().await.unwrap();
    let at_least = Some(Position { generation, sequence });
    stage.gateway.ask("notifier", "test", &channel, at_least, None).await.map(|(answer, _)| answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_is_sent_once_and_its_answer_told() {
    let stage = Stage::new(&[10]).await;
    let sink = HttpSink::start().await.unwrap();
    stage.channel("ops", sink.url()).await;
    sink.answer(&[204, 500]);
    let good = test(&stage, "ops").await.unwrap();
    assert_eq!(good, ChannelTest { delivered: true, status: Some(204), problem: None });
    let bad = test(&stage, "ops").await.unwrap();
    assert_eq!((bad.delivered, bad.status), (false, Some(500)));
    let requests = sink.received();
    assert_eq!(requests.len(), 2, "a test is not repeated");
    for request in &requests {
        let body = verified(request);
        assert_eq!((&body["type"], &body["data"]["channel"]), (&"channel.test".into(), &"ops".into()));
    }
    // Nobody listens: the address, which may hold a token, is not quoted.
    let port = strongroom_testkit::Port::claim().unwrap();
    stage.channel("dead", format!("http://127.0.0.1:{}/token-5", port.number())).await;
    let dead = test(&stage, "dead").await.unwrap();
    assert!(!dead.delivered && dead.status.is_none());
    let problem = dead.problem.unwrap();
    assert!(!problem.contains("token-5") && problem.contains("refused"), "{problem}");

    let unknown = test(&stage, "nobody").await;
    assert!(matches!(&unknown, Err(AskError::Rejected(Rejection::NotFound { .. }))), "{unknown:?}");
    assert_eq!(stage.facts().await, [], "tests are no facts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_its_position_and_knows_its_log() {
    let stage = Stage::new(&[10]).await;
    let ask = async |generation: &str, sequence| {
        let at_least = Some(Position { generation: generation.to_owned(), sequence });
        stage.gateway.ask::<_, String>("notifier", "recipient", &(), at_least, None).await
    };
    let generation = stage.gateway.generation();
    assert!(ask(generation, 0).await.unwrap().0.starts_with("age1"));
    assert!(matches!(ask(generation, 1_000_000).await, Err(AskError::Behind(_))));
    assert!(matches!(ask("another", 0).await, Err(AskError::OtherLog(_))));
}
