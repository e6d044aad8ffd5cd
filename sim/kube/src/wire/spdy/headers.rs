//! Header blocks: names and values, deflated by one stream a direction that knows a dictionary beforehand.
//!
//! Source: SPDY protocol, draft 3, section 2.6.10.

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress};

/// Most bytes of a block, inflated.
pub const BLOCK_BYTES_MAX: usize = 16 << 10;
/// Most pairs of a block.
const PAIRS_MAX: u32 = 64;
/// Bit of a zlib stream's second byte: it needs a dictionary.
const NEEDS_DICTIONARY: u8 = 0x20;

/// The dictionary's words, each of which comes with its length before it …
const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,\
    age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,\
    content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,if-modified-since,\
    if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,proxy-authenticate,\
    proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,user-agent,vary,via,warning,\
    www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,keep-alive,origin";
/// … and what follows without.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
    publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> BytesMut {
    let mut bytes = BytesMut::new();
    for word in WORDS.split(',') {
        bytes.put_u32(word.len() as u32);
        bytes.put_slice(word.as_bytes());
    }
    bytes.put_slice(REST.as_bytes());
    bytes
}

/// Bytes as deflate stores them, without making them shorter.
fn stored(bytes: &[u8]) -> BytesMut {
    // Who calls this has less than one stored block holds.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let bytes = &bytes[..usize::from(length)];
    let mut block = BytesMut::with_capacity(5 + bytes.len());
    block.put_u8(0);
    block.put_u16_le(length);
    block.put_u16_le(!length);
    block.put_slice(bytes);
    block
}

/// Reads the blocks of one direction.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    started: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { stream: Decompress::new(false), started: false }
    }
}

impl Inflater {
    /// The names and values of the next block.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, &'static str> {
        let block = if self.started { block } else { self.start(block)? };
        let mut plain = vec![0; BLOCK_BYTES_MAX];
        let before = self.stream.total_out();
        self.stream
            .decompress(block, &mut plain, FlushDecompress::Sync)
            .map_err(|_| "a header block is not deflated")?;
        let length = (self.stream.total_out() - before) as usize;
        if length == BLOCK_BYTES_MAX {
            return Err("a header block is too long");
        }
        pairs(&plain[..length])
    }

    /// Reads the head of the stream. The dictionary is put before what comes as if it had come as well: what refers to it
    /// then finds it.
    fn start<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let [method, flags, rest @ ..] = block else { return Err("a header block is too short") };
        if method & 0x0f != 8 {
            return Err("a header block is not deflated");
        }
        self.started = true;
        if flags & NEEDS_DICTIONARY == 0 {
            return Ok(rest);
        }
        let dictionary = dictionary();
        let mut plain = vec![0; dictionary.len()];
        let fed = self.stream.decompress(&stored(&dictionary), &mut plain, FlushDecompress::Sync);
        debug_assert!(fed.is_ok() && plain == dictionary[..], "a stored block is always read");
        // Its checksum says which dictionary: there is one.
        rest.get(4..).ok_or("a header block is too short")
    }
}

const SHORT: &str = "a header block breaks off";

fn pairs(mut plain: &[u8]) -> Result<Vec<(String, String)>, &'static str> {
    let count = number(&mut plain)?;
    if count > PAIRS_MAX {
        return Err("a header block has too many names");
    }
    (0..count).map(|_| Ok((text(&mut plain)?.to_ascii_lowercase(), text(&mut plain)?))).collect()
}

fn number(bytes: &mut &[u8]) -> Result<u32, &'static str> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(SHORT)?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*head))
}

fn text(bytes: &mut &[u8]) -> Result<String, &'static str> {
    let length = number(bytes)? as usize;
    let (head, rest) = bytes.split_at_checked(length).ok_or(SHORT)?;
    *bytes = rest;
    Ok(String::from_utf8_lossy(head).into_owned())
}

/// Writes the blocks of one direction.
#[derive(Debug, Default)]
pub struct Deflater {
    started: bool,
}

impl Deflater {
    /// The next block without any name. It is stored as it is: a stream that names no dictionary needs none.
    pub fn empty(&mut self) -> Bytes {
        let mut block = BytesMut::new();
        if !self.started {
            block.put_slice(&[0x78, 0x01]);
            self.started = true;
        }
        block.put_slice(&stored(&0_u32.to_be_bytes()));
        // As zlib flushes: Go's reader hands out what it has when it comes to a stored block without bytes, and not before.
        block.put_slice(&stored(&[]));
        block.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_that_the_protocol_names() {
        let dictionary = dictionary();
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in &dictionary {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((dictionary.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_of_zlib_with_the_dictionary_are_read_one_after_the_other() {
        // Two blocks as zlib 1.3 writes them with this dictionary, flushed after each: {"streamtype": "error", "port": "80"},
        // then {"streamtype": "data", "port": "80"}.
        let first = hex(FIRST);
        let second = hex(SECOND);
        let mut inflater = Inflater::default();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(inflater.read(&first).unwrap(), [pair("streamtype", "error"), pair("port", "80")]);
        assert_eq!(inflater.read(&second).unwrap(), [pair("streamtype", "data"), pair("port", "80")]);
    }

    const FIRST: &str = "78bbe3c6a7c202e50e703a2b294a4dcc851625aca9a0808614cb45a024cc646100000000ffff";
    const SECOND: &str = "c2aa1054e624a2aa03000000ffff";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_read_and_what_is_broken_is_refused() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        for _ in 0..2 {
            let block = deflater.empty();
            assert!(block.ends_with(&[0, 0, 0, 0xff, 0xff]), "flushed");
            assert!(inflater.read(&block).unwrap().is_empty());
        }
        assert_eq!(Inflater::default().read(&[]).unwrap_err(), "a header block is too short");
        assert_eq!(Inflater::default().read(&[0x79, 0, 1]).unwrap_err(), "a header block is not deflated");
        let broken = [&[0x78, 0x01], &stored(&[0, 0, 0, 2, 0, 0, 0, 9, b'a'])[..]].concat();
        assert_eq!(Inflater::default().read(&broken).unwrap_err(), "a header block breaks off");
        let many = [&[0x78, 0x01], &stored(&u32::MAX.to_be_bytes())[..]].concat();
        assert_eq!(Inflater::default().read(&many).unwrap_err(), "a header block has too many names");
    }
}
