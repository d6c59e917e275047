//! The protocol parser, byte by byte.

use redlatch_support::frame::{Frame, encode_request, parse, parse_request};

fn bulk(text: &str) -> Frame {
    Frame::Bulk(text.as_bytes().to_vec())
}

#[test]
fn every_kind_of_frame_is_read_once_it_is_whole() {
    let cases: [(&str, Frame); 20] = [
        ("+OK\r\n", Frame::Simple("OK".into())),
        ("-ERR no\r\n", Frame::Error("ERR no".into())),
        (":-7\r\n", Frame::Int(-7)),
        ("$3\r\na\nb\r\n", bulk("a\nb")),
        ("$0\r\n\r\n", bulk("")),
        ("$-1\r\n", Frame::Nil),
        ("*-1\r\n", Frame::Nil),
        ("_\r\n", Frame::Nil),
        ("*0\r\n", Frame::Array(vec![])),
        (
            "*2\r\n:1\r\n*1\r\n+x\r\n",
            Frame::Array(vec![
                Frame::Int(1),
                Frame::Array(vec![Frame::Simple("x".into())]),
            ]),
        ),
        (
            ">2\r\n$7\r\nmessage\r\n$1\r\nc\r\n",
            Frame::Push(vec![bulk("message"), bulk("c")]),
        ),
        (
            "%1\r\n+proto\r\n:3\r\n",
            Frame::Map(vec![(Frame::Simple("proto".into()), Frame::Int(3))]),
        ),
        ("~1\r\n:1\r\n", Frame::Set(vec![Frame::Int(1)])),
        ("#t\r\n", Frame::Bool(true)),
        ("#f\r\n", Frame::Bool(false)),
        (",1.5\r\n", Frame::Double("1.5".into())),
        (
            "(123456789012345678901\r\n",
            Frame::BigNumber("123456789012345678901".into()),
        ),
        (
            "=6\r\ntxt:hi\r\n",
            Frame::Verbatim {
                format: "txt".into(),
                text: b"hi".to_vec(),
            },
        ),
        ("!5\r\nERR x\r\n", Frame::BlobError(b"ERR x".to_vec())),
        ("|1\r\n+ttl\r\n:9\r\n:5\r\n", Frame::Int(5)),
    ];
    for (text, frame) in cases {
        let bytes = text.as_bytes();
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{text:?} up to {end}");
        }
        let mut more = bytes.to_vec();
        more.extend_from_slice(b"+next");
        assert_eq!(parse(&more), Ok(Some((frame, bytes.len()))), "{text:?}");
    }
}

#[test]
fn other_bytes_are_refused() {
    for text in [
        "hello\r\n",
        "+OK\n",
        ":x\r\n",
        "$-2\r\n",
        "$1\r\nabc\r\n",
        "#x\r\n",
        "=2\r\nab\r\n",
        "\r\n",
    ] {
        let error = parse(text.as_bytes()).expect_err(text);
        assert!(error.to_string().contains("not redis protocol"), "{error}");
    }
}

#[test]
fn requests_are_read_in_both_forms() {
    let words = vec![b"SET".to_vec(), b"k".to_vec(), b"a b".to_vec()];
    let bytes = encode_request(&words);
    assert_eq!(
        bytes,
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na b\r\n".to_vec()
    );
    for end in 0..bytes.len() {
        assert_eq!(parse_request(&bytes[..end]), Ok(None));
    }
    let length = bytes.len();
    assert_eq!(parse_request(&bytes), Ok(Some((words, length))));
    let inline = parse_request(b"GET  k\r\nrest");
    assert_eq!(inline, Ok(Some((vec![b"GET".to_vec(), b"k".to_vec()], 8))));
    assert_eq!(parse_request(b"\r\n"), Ok(Some((vec![], 2))));
    assert!(parse_request(b"*1\r\n:1\r\n").is_err());
}
