//! Writes Python's marshal format, which the interpreter reads without importing anything; JSON
//! would cost each run the import of `json`.
//!
//! Only what a job needs: None, bool, int, float, str, bytes, list, dict.

use crate::Value;

/// A Python object under construction.
#[derive(Default)]
pub(crate) struct Marshal {
    out: Vec<u8>,
}

impl Marshal {
    /// A dict: call [`Marshal::key`] and one value for each entry, then this returns the bytes.
    pub(crate) fn dict(fill: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut object = Self::default();
        object.out.push(b'{');
        fill(&mut object);
        object.out.push(b'0');
        object.out
    }

    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.text(name.as_bytes());
        self
    }

    pub(crate) fn none(&mut self) {
        self.out.push(b'N');
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.out.push(if value { b'T' } else { b'F' });
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.push(b's');
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// A str; lone surrogates may stand as three bytes each.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.out.push(b'u');
        self.length(text.len());
        self.out.extend_from_slice(text);
    }

    pub(crate) fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.out.push(b'[');
        self.length(texts.len());
        for text in texts {
            self.text(text.as_bytes());
        }
    }

    pub(crate) fn values(&mut self, values: &[Value]) {
        self.out.push(b'[');
        self.length(values.len());
        for value in values {
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.none(),
            Value::Bool(value) => self.bool(*value),
            Value::Int(digits) => self.int(digits),
            Value::Float(value) => {
                self.out.push(b'g');
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::List(items) => self.values(items),
            Value::Dict(entries) => {
                self.out.push(b'{');
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
                self.out.push(b'0');
            }
        }
    }

    fn int(&mut self, decimal: &str) {
        if let Ok(small) = decimal.parse::<i32>() {
            self.out.push(b'i');
            self.out.extend_from_slice(&small.to_le_bytes());
            return;
        }
        let negative = decimal.starts_with('-');
        // Digits in base 2^15, least significant first, nine decimal digits at a time.
        let mut digits: Vec<u32> = Vec::new();
        let decimal = decimal.trim_start_matches('-').as_bytes();
        let first = decimal.len() % 9;
        let (head, tail) = decimal.split_at(first);
        for group in std::iter::once(head)
            .chain(tail.chunks(9))
            .filter(|group| !group.is_empty())
        {
            let mut carry = group
                .iter()
                .fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
            let base = 10_u64.pow(group.len() as u32);
            for digit in &mut digits {
                let sum = u64::from(*digit) * base + carry;
                *digit = (sum & 0x7fff) as u32;
                carry = sum >> 15;
            }
            while carry > 0 {
                digits.push((carry & 0x7fff) as u32);
                carry >>= 15;
            }
        }
        let count = i32::try_from(digits.len()).expect("rows are far smaller than 2 GiB");
        self.out.push(b'l');
        self.out
            .extend_from_slice(&(if negative { -count } else { count }).to_le_bytes());
        for digit in digits {
            self.out.extend_from_slice(&(digit as u16).to_le_bytes());
        }
    }

    fn length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("rows are far smaller than 4 GiB");
        self.out.extend_from_slice(&length.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_python_writes() {
        // Right-hand sides are `marshal.dumps(…, 2)` of CPython.
        let cases: [(&str, &[u8]); 7] = [
            ("2147483647", b"i\xff\xff\xff\x7f"),
            ("-1", b"i\xff\xff\xff\xff"),
            ("2147483648", b"l\x03\0\0\0\0\0\0\0\x02\0"),
            ("-2147483648", b"i\0\0\0\x80"),
            (
                "-1000000000000000000000",
                b"l\xfb\xff\xff\xff\0\0@=\x177M.c\x03",
            ),
            ("1.5", b"g\0\0\0\0\0\0\xf8?"),
            ("{\"a\":[null,true]}", b"{u\x01\0\0\0a[\x02\0\0\0NT0"),
        ];
        for (text, bytes) in cases {
            let mut object = Marshal::default();
            object.value(&Value::from_json(text).unwrap());
            assert_eq!(object.out, bytes, "case: {text}");
        }
    }
}
