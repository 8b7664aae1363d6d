use super::*;

const MAX: usize = 4096;

fn text() -> String {
    encode(&[7; 100], CERTIFICATE)
}

#[test]
fn reads_what_it_writes() {
    assert_eq!(single(&text(), CERTIFICATE, MAX), Ok(vec![7; 100]));
    assert_eq!(
        single(&text().replace('\n', "\r\n"), CERTIFICATE, MAX),
        Ok(vec![7; 100])
    );
    let two = format!("\n{}\n\n{}", text(), encode(&[8], CERTIFICATE));
    assert_eq!(
        blocks(&two, CERTIFICATE, MAX),
        Ok(vec![vec![7; 100], vec![8]])
    );
}

#[test]
fn refuses_a_second_block_where_one_was_asked_for() {
    let two = format!("{0}{0}", text());
    assert_eq!(
        single(&two, CERTIFICATE, MAX),
        Err(PemError::SeveralBlocks { found: 2 })
    );
}

#[test]
fn refuses_another_label() {
    let refused = single(&encode(&[7], "PRIVATE KEY"), PUBLIC_KEY, MAX);
    let found = "PRIVATE KEY".to_owned();
    assert_eq!(
        refused,
        Err(PemError::WrongLabel {
            found,
            expected: PUBLIC_KEY
        })
    );
}

#[test]
fn refuses_text_outside_the_blocks() {
    for outside in [
        format!("subject=x\n{}", text()),
        format!("{}trailing", text()),
    ] {
        assert_eq!(
            blocks(&outside, CERTIFICATE, MAX),
            Err(PemError::TextOutside)
        );
    }
}

#[test]
fn refuses_every_truncation() {
    let whole = text();
    let whole = whole.trim_end();
    for end in 0..whole.len() {
        let cut = whole.get(..end).unwrap();
        assert!(
            matches!(
                single(cut, CERTIFICATE, MAX),
                Err(PemError::Empty | PemError::TextOutside | PemError::Unterminated)
            ),
            "{cut:?}"
        );
    }
}

#[test]
fn refuses_bodies_that_are_not_canonical_base64() {
    for body in ["", "Bw", "Bw=", "B===", "Bx==", "B w=", "Bw==Bw==", "_w=="] {
        let text = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        assert_eq!(
            blocks(&text, CERTIFICATE, MAX),
            Err(PemError::NotBase64),
            "{body:?}"
        );
    }
}

#[test]
fn refuses_too_much_text_and_text_outside_ascii() {
    let len = text().len();
    let refused = blocks(&text(), CERTIFICATE, len - 1);
    assert_eq!(refused, Err(PemError::TooLarge { len, max: len - 1 }));
    assert_eq!(blocks("é", CERTIFICATE, MAX), Err(PemError::NotAscii));
    assert_eq!(blocks(" \n", CERTIFICATE, MAX), Err(PemError::Empty));
}

#[test]
fn decodes_percent_signs_and_refuses_bad_ones() {
    assert_eq!(url_decode(b"a%20b+c%2Bd%0a"), Ok(b"a b+c+d\n".to_vec()));
    for (text, at) in [(&b"ab%"[..], 2), (b"%2", 0), (b"a%g0", 1), (b"%2%20", 0)] {
        assert_eq!(url_decode(text), Err(PemError::BadPercent { at }));
    }
}
