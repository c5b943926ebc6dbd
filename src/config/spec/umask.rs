//! A file mode creation mask.

use thiserror::Error;

/// A file mode creation mask: what `umask(2)` takes, 0 to 0o777.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Umask(u32);

/// Why a text is not a umask.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a umask is three or four octal digits, such as \"022\"")]
pub struct UmaskError;

impl Umask {
    /// What new files are denied to group and others in most places.
    pub const DEFAULT: Self = Self(0o022);

    /// The mask as a number.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<&str> for Umask {
    type Error = UmaskError;

    fn try_from(text: &str) -> Result<Self, UmaskError> {
        if !(3..=4).contains(&text.len()) || !text.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            return Err(UmaskError);
        }
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => Err(UmaskError),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_umask_is_octal_and_at_most_0777() {
        assert_eq!(Umask::try_from("022").map(Umask::bits), Ok(0o022));
        assert_eq!(Umask::try_from("0077").map(Umask::bits), Ok(0o077));
        for text in ["", "22", "8", "0o22", "1000", "00022", "-22", "+22"] {
            assert_eq!(Umask::try_from(text), Err(UmaskError), "{text:?}");
        }
    }
}
