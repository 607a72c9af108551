//! Samples as chunks: what a Prometheus stores and sends by remote read.
//!
//! Both encodings write the same bytes as `tsdb/chunkenc/{xor,xor2}.go`; the readers of `prometheus::history` are tested
//! against them. Deliberately absent: histograms, and chunks of more than 65,535 samples.

/// What ends a series (`model/value.StaleNaN`).
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// The last sample whose number fits into the header of an XOR2 chunk: from there on starts are written in any case.
const STARTS_FROM_MAX: usize = 0x7f;

/// An XOR chunk (type 1) of samples `(milliseconds, value)` in time order.
pub fn xor(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut writer = BitWriter::default();
    let (mut last, mut last_delta) = ((0i64, 0u64), 0i64);
    let mut place = None;
    for (i, &(time, value)) in samples.iter().enumerate() {
        let delta = time.wrapping_sub(last.0);
        match i {
            0 => writer.varint(time),
            1 => writer.uvarint(delta as u64),
            _ => match delta.wrapping_sub(last_delta) {
                0 => writer.put(0, 1),
                d if (-8191..=8192).contains(&d) => writer.pair((0b10, 2), (d as u64, 14)),
                d if (-65_535..=65_536).contains(&d) => writer.pair((0b110, 3), (d as u64, 17)),
                d if (-524_287..=524_288).contains(&d) => writer.pair((0b1110, 4), (d as u64, 20)),
                d => writer.pair((0b1111, 4), (d as u64, 64)),
            },
        }
        match (i, value.to_bits() ^ last.1) {
            (0, _) => writer.put(value.to_bits(), 64),
            (_, 0) => writer.put(0, 1),
            (_, by) => writer.difference(by, &mut place, (0b10, 2), (0b11, 2)),
        }
        (last, last_delta) = ((time, value.to_bits()), if i == 0 { 0 } else { delta });
    }
    [(samples.len() as u16).to_be_bytes().as_slice(), &writer.bytes].concat()
}

/// An XOR2 chunk (type 4) of samples `(start in milliseconds, milliseconds, value)` in time order; a start of 0 is none.
pub fn xor2(samples: &[(i64, i64, f64)]) -> Vec<u8> {
    let mut writer = BitWriter::default();
    let mut place = None;
    let (mut header, mut starts_from) = (0u8, None);
    let (mut last_start, mut last_time, mut last_value, mut last_delta, mut last_age) = (0i64, 0i64, 0u64, 0i64, 0i64);
    for (i, &(start, time, value)) in samples.iter().enumerate() {
        let (value, delta) = (value.to_bits(), time.wrapping_sub(last_time));
        match i {
            0 => {
                writer.varint(time);
                writer.put(value, 64);
                if start != 0 {
                    header = 0x80;
                    writer.varint(time.wrapping_sub(start));
                }
            }
            1 => {
                writer.uvarint(delta as u64);
                writer.value(value, last_value, &mut place);
            }
            _ => match (delta.wrapping_sub(last_delta), value ^ last_value) {
                (0, _) if value == STALE => writer.put(0b11111, 5),
                (0, 0) => writer.put(0, 1),
                (0, by) => {
                    writer.put(0b10, 2);
                    writer.difference(by, &mut place, (0, 1), (1, 1));
                }
                (change, _) => {
                    match change {
                        d if (-4096..4096).contains(&d) => writer.pair((0b110, 3), (d as u64, 13)),
                        d if (-524_288..524_288).contains(&d) => writer.pair((0b1110, 4), (d as u64, 20)),
                        d => writer.pair((0b11110, 5), (d as u64, 64)),
                    }
                    writer.value(value, last_value, &mut place);
                }
            },
        }
        let age = last_time.wrapping_sub(start);
        match starts_from {
            Some(_) => writer.varbit(age.wrapping_sub(last_age)),
            None if i > 0 && (start != last_start || i == STARTS_FROM_MAX) => {
                starts_from = Some(i as u8);
                writer.varbit(age);
            }
            None => {}
        }
        (last_start, last_time, last_age) = (start, time, age);
        last_delta = if i == 0 { 0 } else { delta };
        if value != STALE {
            last_value = value;
        }
    }
    let [high, low] = (samples.len() as u16).to_be_bytes();
    [&[high, low, header | starts_from.unwrap_or(0)], writer.bytes.as_slice()].concat()
}

/// Bits, most significant first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

/// Leading and trailing zeros of the last difference.
type Place = Option<(u32, u32)>;

impl BitWriter {
    fn put(&mut self, value: u64, count: u32) {
        for bit in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            let last = self.bytes.last_mut().expect("a byte was pushed when none was free");
            *last |= (((value >> bit) & 1) as u8) << self.free;
        }
    }

    fn pair(&mut self, (control, length): (u64, u32), (value, count): (u64, u32)) {
        self.put(control, length);
        self.put(value, count);
    }

    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put((value & 0x7f) | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A number with its length in ones before it.
    fn varbit(&mut self, value: i64) {
        const SIZES: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];
        if value == 0 {
            return self.put(0, 1);
        }
        for (ones, size) in (1u32..).zip(SIZES) {
            let most = 1i64 << (size - 1);
            if value > -most && value <= most {
                return self.pair(((1 << (ones + 1)) - 2, ones + 1), (value as u64, size));
            }
        }
        self.pair((0xff, 8), (value as u64, 64));
    }

    /// Bits that differ, where the last ones were if they fit in there, else at a place of their own.
    fn difference(&mut self, by: u64, place: &mut Place, again: (u64, u32), placed: (u64, u32)) {
        let (leading, trailing) = (by.leading_zeros().min(31), by.trailing_zeros());
        if let Some((was_leading, was_trailing)) = *place
            && leading >= was_leading
            && trailing >= was_trailing
        {
            return self.pair(again, (by >> was_trailing, 64 - was_leading - was_trailing));
        }
        *place = Some((leading, trailing));
        let significant = 64 - leading - trailing;
        self.pair(placed, (u64::from(leading), 5));
        self.pair((u64::from(significant % 64), 6), (by >> trailing, significant));
    }

    /// A value of an XOR2 chunk where the time between samples changed.
    fn value(&mut self, value: u64, last: u64, place: &mut Place) {
        match value ^ last {
            _ if value == STALE => self.put(0b111, 3),
            0 => self.put(0, 1),
            by => self.difference(by, place, (0b10, 2), (0b110, 3)),
        }
    }
}
