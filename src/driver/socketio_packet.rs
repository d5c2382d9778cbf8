//! The packets of Socket.IO 5 inside the packets of Engine.IO 4, as their protocols have them
//! (github.com/socketio/socket.io-protocol, github.com/socketio/engine.io-protocol).

use serde_json::Value as Json;

/// Between the packets of one polling answer.
pub const SEPARATOR: char = '\u{1e}';
/// More attachments than this are nobody's.
const MOST_ATTACHMENTS: usize = 64;

/// An Engine.IO packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Engine<'a> {
    Open(&'a str),
    Close,
    Ping(&'a str),
    Pong(&'a str),
    Message(&'a str),
    Noop,
}

/// # Errors
/// The text is no packet.
pub fn engine(text: &str) -> Result<Engine<'_>, String> {
    let kind = text.chars().next().ok_or("an empty packet")?;
    let rest = &text[kind.len_utf8()..];
    Ok(match kind {
        '0' => Engine::Open(rest),
        '1' => Engine::Close,
        '2' => Engine::Ping(rest),
        '3' => Engine::Pong(rest),
        '4' => Engine::Message(rest),
        '6' => Engine::Noop,
        other => return Err(format!("`{other}` begins no Engine.IO packet")),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

/// A Socket.IO packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    pub kind: Kind,
    /// Binary parts that follow in messages of their own.
    pub attachments: usize,
    pub namespace: String,
    /// It wants an acknowledgement, or is one.
    pub ack: Option<u64>,
    pub data: Json,
}

/// # Errors
/// The text is no packet.
pub fn packet(text: &str) -> Result<Packet, String> {
    let (kind, binary) = match text.bytes().next() {
        Some(b'0') => (Kind::Connect, false),
        Some(b'1') => (Kind::Disconnect, false),
        Some(b'2') => (Kind::Event, false),
        Some(b'3') => (Kind::Ack, false),
        Some(b'4') => (Kind::ConnectError, false),
        Some(b'5') => (Kind::Event, true),
        Some(b'6') => (Kind::Ack, true),
        _ => return Err("this is no Socket.IO packet".to_owned()),
    };
    let mut rest = &text[1..];
    let mut attachments = 0;
    if binary {
        let (count, after) = rest.split_once('-').ok_or("a binary packet without its count")?;
        attachments = count.parse().ok().filter(|n| *n <= MOST_ATTACHMENTS).ok_or("a binary packet with a wrong count")?;
        rest = after;
    }
    let mut namespace = "/".to_owned();
    if rest.starts_with('/') {
        let end = rest.find(',').unwrap_or(rest.len());
        // A query may follow the name.
        namespace = rest[..end].split('?').next().unwrap_or("/").to_owned();
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let ack =
        if digits > 0 { Some(rest[..digits].parse().map_err(|_| "an acknowledgement's number is too long")?) } else { None };
    rest = &rest[digits..];
    let data =
        if rest.is_empty() { Json::Null } else { serde_json::from_str(rest).map_err(|e| format!("no JSON in a packet: {e}"))? };
    Ok(Packet { kind, attachments, namespace, ack, data })
}

/// A packet without attachments, as an Engine.IO message.
pub fn write(kind: Kind, namespace: &str, ack: Option<u64>, data: &Json) -> String {
    let digit = match kind {
        Kind::Connect => 0,
        Kind::Disconnect => 1,
        Kind::Event => 2,
        Kind::Ack => 3,
        Kind::ConnectError => 4,
    };
    let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
    let ack = ack.map_or_else(String::new, |n| n.to_string());
    let data = if data.is_null() { String::new() } else { data.to_string() };
    format!("4{digit}{namespace}{ack}{data}")
}

/// Puts attachments where a packet says that they belong, as their sizes: what they hold is no progress.
pub fn fill_in(data: &mut Json, sizes: &[usize]) {
    match data {
        Json::Array(items) => items.iter_mut().for_each(|item| fill_in(item, sizes)),
        Json::Object(map) => {
            let number = map.get("num").and_then(Json::as_u64).filter(|_| map.get("_placeholder") == Some(&Json::Bool(true)));
            match number {
                Some(number) => {
                    *data = usize::try_from(number).ok().and_then(|n| sizes.get(n)).map_or(Json::Null, |size| (*size).into())
                }
                None => map.values_mut().for_each(|value| fill_in(value, sizes)),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn packets_are_read_as_the_protocol_writes_them() {
        let read = |text: &str| packet(text).unwrap();
        let plain = |kind, data| Packet { kind, attachments: 0, namespace: "/".into(), ack: None, data };
        assert_eq!(read("0{\"sid\":\"x\"}"), plain(Kind::Connect, json!({ "sid": "x" })));
        assert_eq!(read("2[\"a\",1]"), plain(Kind::Event, json!(["a", 1])));
        assert_eq!(
            read("2/admin,456[\"a\"]"),
            Packet { namespace: "/admin".into(), ack: Some(456), ..plain(Kind::Event, json!(["a"])) }
        );
        assert_eq!(read("3/admin,456[]"), Packet { namespace: "/admin".into(), ack: Some(456), ..plain(Kind::Ack, json!([])) });
        assert_eq!(read("1/admin,"), Packet { namespace: "/admin".into(), ..plain(Kind::Disconnect, Json::Null) });
        let binary = read("52-/admin,[\"b\",{\"_placeholder\":true,\"num\":1}]");
        assert_eq!((binary.attachments, binary.namespace.as_str()), (2, "/admin"));
        let mut data = binary.data;
        fill_in(&mut data, &[5, 9]);
        assert_eq!(data, json!(["b", 9]));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (namespace, ack) in [("/", None), ("/a", Some(7))] {
            let text = write(Kind::Event, namespace, ack, &json!(["x", { "y": 1 }]));
            let Engine::Message(inside) = engine(&text).unwrap() else { panic!("{text}") };
            let back = packet(inside).unwrap();
            assert_eq!(
                (back.kind, back.namespace.as_str(), back.ack, back.data),
                (Kind::Event, namespace, ack, json!(["x", { "y": 1 }]))
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}", digits in "[0-6][0-9]{0,30}-?/?[a-z,]{0,5}[0-9]{0,30}\\[?") {
            for text in [&text, &digits] {
                let _ = engine(text);
                let _ = packet(text);
            }
        }
    }
}
