//! Writes values as TOML, so that [`reader`](super::reader) can read them again.
//!
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dsr_setup::substitution::escape;
use ipnet::IpNet;
use toml::Value;

use super::value::span;
use super::written::{WrittenList, WrittenValue};
use crate::model::{
    Asn, Community, ExtendedCommunity, Family, LargeCommunity, Origin, PeerAsn, PeerName, RouterId,
    ServiceName, Weight,
};

/// A value that can be written so that its reader reads the same value.
pub(super) trait ToToml {
    /// As TOML.
    fn to_toml(&self) -> Value;

    /// A form that is only for comparison: it also differs if a value differs that is not shown.
    fn to_compare(&self) -> Value {
        self.to_toml()
    }
}

/// As a string of TOML, in which nothing is substituted.
pub(super) fn text(value: impl ToString) -> Value {
    Value::String(escape(&value.to_string()))
}

fn integer<N: Copy + Into<i64>>(number: &N) -> Value {
    Value::Integer((*number).into())
}

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct TomlWriter {
    pub(super) text: String,
    /// Whether the text is only for comparison.
    pub(super) compares: bool,
}

impl TomlWriter {
    /// Opens a table.
    pub(super) fn header(&mut self, header: &str) {
        let apart = if self.text.is_empty() { "" } else { "\n" };
        self.text.push_str(&format!("{apart}{header}\n"));
    }

    /// A key, if it has a value.
    pub(super) fn one<T: ToToml>(&mut self, key: &str, value: &WrittenValue<T>) {
        if let Some(value) = value {
            self.line(key, self.form(value.get_ref()));
        }
    }

    /// A key that has an array, if it has one.
    pub(super) fn list<T: ToToml>(&mut self, key: &str, values: &WrittenList<T>) {
        if let Some(values) = values {
            self.line(
                key,
                Value::Array(values.get_ref().iter().map(|value| self.form(value.get_ref())).collect()),
            );
        }
    }

    /// The same.
    pub(super) fn set<T: ToToml>(&mut self, key: &str, values: &WrittenList<T>) {
        self.list(key, values);
    }

    /// The same: each value is written.
    pub(super) fn ranges<T: ToToml>(&mut self, key: &str, values: &WrittenList<T>) {
        self.list(key, values);
    }

    /// The same; a single value is written without brackets.
    pub(super) fn one_or_list<T: ToToml>(&mut self, key: &str, values: &WrittenList<T>) {
        match values.as_ref().map(|values| values.get_ref().as_slice()) {
            Some([one]) => self.line(key, self.form(one.get_ref())),
            Some(_) | None => self.list(key, values),
        }
    }

    /// The same as [`list`](Self::list).
    pub(super) fn one_or_set<T: ToToml>(&mut self, key: &str, values: &WrittenList<T>) {
        self.list(key, values);
    }

    fn form<T: ToToml>(&self, value: &T) -> Value {
        if self.compares { value.to_compare() } else { value.to_toml() }
    }

    fn line(&mut self, key: &str, value: Value) {
        self.text.push_str(&format!("{key} = {value}\n"));
    }
}

macro_rules! written {
    ($($type:ty),* => $how:expr) => {
        $(impl ToToml for $type {
            fn to_toml(&self) -> Value {
                $how(self)
            }
        })*
    };
}

written!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, IpNet, String, PeerName, ServiceName, RouterId, Origin => text);
written!(Community, ExtendedCommunity, LargeCommunity => text);
written!(u8, u16, u32 => integer);
written!(Weight => |weight: &Weight| weight.get().to_toml());
written!(bool => |is: &bool| Value::Boolean(*is));
written!(Duration => |time: &Duration| text(span(*time)));
written!(PathBuf => |path: &PathBuf| text(path.display()));
written!(Asn => |asn: &Asn| asn.get().to_toml());
written!(Family => |family: &Family| text(family.to_string().to_lowercase()));
written!(PeerAsn => |asn: &PeerAsn| match asn {
    PeerAsn::Is(asn) => asn.to_toml(),
    PeerAsn::External | PeerAsn::Internal => text(asn),
});
