//! How much one JSON text may hold.

/// What the scanner accepts at most. Each limit is inclusive: a text that reaches it exactly passes.
///
/// The defaults suit messages of 64 KiB and less; a larger message limit does not need larger ones here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// Arrays and objects open at once; a scalar has depth 0. Default 32: parsers behind us recurse, and some crash at thousands.
    pub depth: u8,
    /// Nodes of the tape: one per value and one per member key. Default 8,192, which is 128 KiB of tape per thread.
    pub nodes: u32,
    /// Members of one object. Default 256.
    pub members: u16,
    /// Items of one array. Default 8,192.
    pub items: u16,
    /// UTF-8 bytes of a member key after unescaping. Default 128.
    pub key_bytes: u16,
    /// Characters of one number. Default 64: twice what any double needs, and far from what slows a bignum parser.
    pub number_bytes: u16,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { depth: 32, nodes: 8_192, members: 256, items: 8_192, key_bytes: 128, number_bytes: 64 }
    }
}
