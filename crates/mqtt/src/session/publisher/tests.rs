use std::time::Duration;

use super::*;
use crate::packet::Publish;

/// A session that is logged in, and its clock.
fn logged_in(timeout: Duration) -> (PublisherSession, ReadBuffer, Instant) {
    let mut options = ConnectOptions::new("broker", 1883, "tested");
    options.protocol = ProtocolVersion::V311;
    options.keep_alive = Duration::ZERO;
    options.operation_timeout = timeout;
    let mut session = PublisherSession::new(options);
    let mut input = ReadBuffer::default();
    let now = Instant::now();
    session.begin(now).unwrap();
    receive(&mut session, &mut input, &[0x20, 2, 0, 0], now);
    session.wrote(session.link().output().len(), now);
    (session, input, now)
}

fn receive(session: &mut PublisherSession, input: &mut ReadBuffer, bytes: &[u8], now: Instant) {
    input.for_read(0).extend_from_slice(bytes);
    session.receive(input, now).unwrap();
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_message_that_nobody_asked_for_disturbs_nothing() {
    let (mut session, mut input, now) = logged_in(10 * SECOND);
    session.publish(vec![Publish::new("t", "x", QoS::AtLeastOnce)]);
    session.wrote(session.link().output().len(), now);
    // PUBLISH of QoS 1 on "a", then the PUBACK that is awaited.
    let bytes = [0x32, 6, 0, 1, b'a', 0, 9, b'x', 0x40, 2, 0, 1];
    receive(&mut session, &mut input, &bytes, now);
    assert!(session.link().output().is_empty(), "it is not acknowledged");
    assert_eq!(session.completed(), 1);
}

#[test]
fn an_answer_that_never_comes_ends_the_connection() {
    let (mut session, mut input, start) = logged_in(10 * SECOND);
    let publish = || Publish::new("t", "x", QoS::AtLeastOnce);
    session.publish(vec![publish(), publish()]);
    assert_eq!(session.deadline(), None, "not written yet");
    let len = session.link().output().len();
    session.wrote(len - 1, start + 5 * SECOND);
    assert!(session.tick(start + 50 * SECOND).is_ok());
    session.wrote(1, start + 50 * SECOND);
    assert_eq!(session.deadline(), Some(start + 60 * SECOND));
    // The second is answered, the first is not.
    receive(
        &mut session,
        &mut input,
        &[0x40, 2, 0, 2],
        start + 59 * SECOND,
    );
    assert!(session.tick(start + 59 * SECOND).is_ok());
    let overdue = session.tick(start + 60 * SECOND);
    assert!(matches!(overdue, Err(MqttError::Timeout { .. })));
}

#[test]
fn whoever_gets_answers_is_not_late() {
    let (mut session, mut input, mut now) = logged_in(10 * SECOND);
    for id in 1..100 {
        session.publish(vec![Publish::new("t", "x", QoS::AtLeastOnce)]);
        session.wrote(session.link().output().len(), now);
        now += 9 * SECOND;
        assert!(session.tick(now).is_ok());
        receive(&mut session, &mut input, &[0x40, 2, 0, id], now);
    }
    assert_eq!((session.completed(), session.deadline()), (99, None));
}
