//! The messages of the load, made here so that none has to be stored.

/// A message as a mail server hands it to a milter.
pub struct Message {
    /// Names and values; a value keeps the space after the colon, and folds are joined by LF.
    pub header: Vec<(String, String)>,
    /// Lines end in CRLF.
    pub body: Vec<u8>,
}

impl Message {
    /// Size of the whole message in bytes, as the SIZE parameter of MAIL (RFC 1870) declares it.
    pub fn size(&self) -> usize {
        let header: usize = self.header.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
        header + 2 + self.body.len()
    }
}

/// A note of about 2 KB, text only.
pub fn note() -> Message {
    plain(2_000)
}

/// About 60 KB of text in one part, as a log or a list is mailed.
pub fn report() -> Message {
    plain(60_000)
}

/// About 60 KB as text and as HTML, as mail programs write and quote.
pub fn newsletter() -> Message {
    let mut body = Vec::with_capacity(64_000);
    part(&mut body, "text/plain; charset=utf-8", &[]);
    lines(&mut body, 20_000, "");
    part(&mut body, "text/html; charset=utf-8", &["Content-Transfer-Encoding: quoted-printable"]);
    lines(&mut body, 39_000, "<p style=3D\"margin: 0\">");
    close(&mut body);
    Message { header: header("multipart/alternative; boundary=\"=_boundary\""), body }
}

/// About 10 MB: a few lines and a PDF document in Base64.
pub fn attachment() -> Message {
    const SIZE: usize = 10_000_000;
    let mut body = Vec::with_capacity(SIZE + 4096);
    part(&mut body, "text/plain; charset=utf-8", &[]);
    lines(&mut body, 400, "");
    part(
        &mut body,
        "application/pdf; name=\"plan.pdf\"",
        &["Content-Disposition: attachment; filename=\"plan.pdf\"", "Content-Transfer-Encoding: base64"],
    );
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Noise, as a compressed document is: a plain linear congruence does.
    let mut state = 1_u64;
    while body.len() < SIZE {
        for _ in 0..76 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            body.push(ALPHABET[(state >> 58) as usize]);
        }
        body.extend_from_slice(b"\r\n");
    }
    close(&mut body);
    Message { header: header("multipart/mixed; boundary=\"=_boundary\""), body }
}

fn plain(size: usize) -> Message {
    let header = header("text/plain; charset=utf-8");
    let mut message = Message { header, body: Vec::with_capacity(size) };
    let text = size.saturating_sub(message.size());
    lines(&mut message.body, text, "");
    message
}

fn part(body: &mut Vec<u8>, content_type: &str, fields: &[&str]) {
    body.extend_from_slice(format!("\r\n--=_boundary\r\nContent-Type: {content_type}\r\n").as_bytes());
    for field in fields {
        body.extend_from_slice(format!("{field}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
}

fn close(body: &mut Vec<u8>) {
    body.extend_from_slice(b"\r\n--=_boundary--\r\n");
}

fn lines(body: &mut Vec<u8>, size: usize, before: &str) {
    let end = body.len() + size;
    let mut number = 0;
    while body.len() < end {
        number += 1;
        let line = format!("{before}{number}. The plan is as it was, only later; please read it before we meet.\r\n");
        body.extend_from_slice(line.as_bytes());
    }
}

/// The header section of a message that an internal client sends, with one forged marker: every message costs an edit.
fn header(content_type: &str) -> Vec<(String, String)> {
    let fields = [
        (
            "Received",
            " from client.customer.test (client.customer.test [10.0.0.5])\n\t(using TLSv1.3 with cipher \
             TLS_AES_256_GCM_SHA384 (256/256 bits))\n\t(No client certificate requested)\n\t(Authenticated sender: \
             alice)\n\tby mx.customer.test (Postfix) with ESMTPSA id 4B2C3D4E5F6\n\tfor <bob@remote.test>; Mon, 12 \
             Jan 2026 10:00:00 +0100 (CET)",
        ),
        ("Date", " Mon, 12 Jan 2026 09:59:58 +0100"),
        ("From", " \"Alice Example\" <alice@customer.test>"),
        ("To", " Bob <bob@remote.test>"),
        ("Cc", " carol@remote.test,\n Dave <dave@remote.test>"),
        ("Message-ID", " <20260112095958.12345@customer.test>"),
        ("Subject", " Re: The plan for the next quarter"),
        ("References", " <20260109112233.11111@remote.test>\n <20260110112233.22222@customer.test>"),
        ("In-Reply-To", " <20260110112233.22222@customer.test>"),
        ("User-Agent", " Mail program 102.3"),
        ("X-Conbool-Released", " yes"),
        ("MIME-Version", " 1.0"),
        ("Content-Language", " en-GB"),
        ("Content-Type", ""),
    ];
    let mut header: Vec<(String, String)> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if let Some((_, value)) = header.last_mut() {
        *value = format!(" {content_type}");
    }
    header
}
