//! Takes macro packets without a macro out of what the mail server sends.
//!
//! Postfix sends a macro packet before every header field and body chunk, even when none of the macros asked for
//! exists. To indymilter such a packet means nothing, but costs as much as the field that follows it.

use tokio::io::ReadBuf;

/// The place in the stream of packets: a length of four bytes, a command, and its data.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes of the packet under way that are still to be passed on.
    rest: usize,
}

/// A macro packet with the command that it is for and no macro.
const EMPTY_MACROS: [u8; 5] = [0, 0, 0, 2, b'D'];

impl Frames {
    /// Bytes of the packet under way, however many packets follow.
    pub fn rest(&self) -> usize {
        self.rest
    }

    /// Counts bytes of the packet under way that were passed on otherwise; at most [`rest`](Self::rest).
    pub fn passed(&mut self, count: usize) {
        self.rest -= count;
    }

    /// Passes on what it can of `input` and returns how many bytes of it are done with. What remains does not fit into
    /// `output`, or is too little to tell what it begins.
    pub fn pass(&mut self, input: &[u8], output: &mut ReadBuf<'_>) -> usize {
        let mut done = 0;
        loop {
            let input = &input[done..];
            if self.rest == 0 {
                let Some((head, data)) = input.split_first_chunk::<5>() else { return done };
                if *head == EMPTY_MACROS {
                    if data.is_empty() {
                        return done;
                    }
                    done += EMPTY_MACROS.len() + 1;
                    continue;
                }
                // The command is read even where the length does not allow for it; what follows a length that
                // indymilter does not take is never read.
                self.rest = 4 + (u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize).max(1);
            }
            let count = self.rest.min(input.len()).min(output.remaining());
            if count == 0 {
                return done;
            }
            output.put_slice(&input[..count]);
            self.rest -= count;
            done += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(data: &[u8]) -> Vec<u8> {
        let mut packet = (data.len() as u32).to_be_bytes().to_vec();
        packet.extend_from_slice(data);
        packet
    }

    /// Runs the packets through, in pieces of every size on both sides.
    fn passed(packets: &[&[u8]]) -> Vec<Vec<u8>> {
        let stream: Vec<u8> = packets.iter().flat_map(|data| packet(data)).collect();
        let pieces = |read: usize, take: usize| {
            let (mut frames, mut held, mut result) = (Frames::default(), Vec::new(), Vec::new());
            for piece in stream.chunks(read) {
                held.extend_from_slice(piece);
                loop {
                    let mut space = vec![0; take];
                    let mut output = ReadBuf::new(&mut space);
                    let done = frames.pass(&held, &mut output);
                    held.drain(..done);
                    result.extend_from_slice(output.filled());
                    if done == 0 {
                        break;
                    }
                }
            }
            assert_eq!(held, b"");
            result
        };
        let sizes = 1..=stream.len();
        sizes.clone().flat_map(|read| [1, 3, 7, stream.len()].map(|take| pieces(read, take))).collect()
    }

    #[test]
    fn only_macro_packets_without_macros_go() {
        let packets: &[&[u8]] =
            &[b"DC", b"Cclient\0U", b"DMi\x001\0", b"M<>\0", b"DL", b"LD\0\0\0\x02DL\0", b"DN", b"T", b"E", b"D", b"A"];
        let kept: &[&[u8]] = &[b"Cclient\0U", b"DMi\x001\0", b"M<>\0", b"LD\0\0\0\x02DL\0", b"T", b"E", b"D", b"A"];
        let expected: Vec<u8> = kept.iter().flat_map(|data| packet(data)).collect();
        for result in passed(packets) {
            assert_eq!(result, expected);
        }
    }

    #[test]
    fn a_length_of_nothing_is_not_waited_for() {
        let mut space = [0; 16];
        let mut output = ReadBuf::new(&mut space);
        assert_eq!(Frames::default().pass(&[0, 0, 0, 0, b'A'], &mut output), 5);
        assert_eq!(output.filled(), [0, 0, 0, 0, b'A']);
    }
}
