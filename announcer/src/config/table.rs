//! The macro that declares a table, with each of its keys once.
//!
//! Pure. The macro makes from one declaration: the value as written with its place in the file ([`WrittenValue`](super::written::WrittenValue),
//! [`WrittenList`](super::written::WrittenList)), its reader, its default, how it is written again ([`canonical`](super::canonical)), its row in
//! the documents ([`Key`](super::keys::Key)), and, if the program uses the table in the form in which it is written, the field of
//! the struct that the program uses.
//!
//! ```text
//! table! {
//!     /// `[hooks]`.                                            the struct as the program uses it, and
//!     pub struct Hooks as Written {                             the struct as written
//!         /// For a run.                                        the field's doc
//!         timeout: one Duration, default "\"10s\"", within(…), "how long a run may take; 100ms to 5m";
//!     }     │       │            │                 │           └ its row in docs/configuration.md and in the man page
//!     │     │       │            │                 └ the reader of one value: fn(&Value) -> Result<T, Wrong>
//!     │     │       │            └ required, one_of, optional or derived with an example; default with its value (in TOML)
//!     │     │       └ what one value is in the program
//!     │     └ one value; list, set: an array of them; one_or_list, one_or_set: one, or an array; ranges: an array in
//!     │                                                     which one value may stand for several
//!     └ the field, and the key; where they differ, `field("key")`
//!     with {
//!         certificate: Certificate as certificate::Written;     keys that are declared elsewhere, since tables share them
//!     }
//! }
//! ```
//!
//! `own "…"` behind the row: the key cannot be a default (`[defaults]`), for this reason.
//!
//! `derived`: without the key, its value is computed from other keys, before [`rules`](super::rules) check the table. If the
//! program uses a table in another form than the written one, the table only has `struct Written { … }`, and `used` and `From` are
//! written by hand.

macro_rules! table {
    // A table that the program uses in its written form.
    (
        $(#[$about:meta])*
        pub struct $Used:ident as $Written:ident {
            $(
                $(#[$what:meta])*
                $field:ident $(($name:literal))?: $shape:ident $type:ty, $need:ident $example:literal, $read:expr, $row:literal $(, own $own:literal)?;
            )*
        }
        $( with { $( $(#[$shared:meta])* $group:ident: $Group:ty as $Keys:ty; )* } )?
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Used {
            $( $(#[$what])* pub $field: table!(@used $shape $need $type), )*
            $( $( $(#[$shared])* pub $group: $Group, )* )?
        }

        table! {
            struct $Written {
                $( $field $(($name))?: $shape $type, $need $example, $read, $row $(, own $own)?; )*
            }
            $( with { $( $group: $Group as $Keys; )* } )?
        }

        impl $Written {
            /// As the program uses it; `None`: something is missing or wrong, and an error was recorded.
            pub(in crate::config) fn used(&self) -> Option<$Used> {
                Some($Used {
                    $( $field: table!(@take $shape $need &self.$field), )*
                    $( $( $group: self.$group.used()?, )* )?
                })
            }
        }

        impl From<&$Used> for $Written {
            fn from(used: &$Used) -> Self {
                $Written {
                    $( $field: table!(@put $shape $need &used.$field), )*
                    $( $( $group: (&used.$group).into(), )* )?
                }
            }
        }
    };

    // The keys of a table as written.
    (
        $(#[$about:meta])*
        struct $Written:ident {
            $( $field:ident $(($name:literal))?: $shape:ident $type:ty, $need:ident $example:literal, $read:expr, $row:literal $(, own $own:literal)?; )*
        }
        $( with { $( $group:ident: $Group:ty as $Keys:ty; )* } )?
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        pub(in crate::config) struct $Written {
            $( pub(in crate::config) $field: table!(@written $shape $type), )*
            $( $( pub(in crate::config) $group: $Keys, )* )?
        }

        impl $Written {
            /// Its own keys.
            pub(in crate::config) const KEYS: &'static [$crate::config::keys::Key] = &[
                $( $crate::config::keys::Key {
                    name: table!(@name $field $($name)?),
                    need: table!(@need $need $example),
                    doc: $row,
                    own: table!(@own $($own)?),
                }, )*
            ];

            /// Reads the table; records an error for what is wrong.
            pub(in crate::config) fn read(table: &mut $crate::config::reader::Table<'_>) -> Self {
                $Written {
                    $( $field: table.$shape(table!(@name $field $($name)?), $read), )*
                    $( $( $group: <$Keys>::read(table), )* )?
                }
            }

            /// Writes its own keys.
            pub(in crate::config) fn write_own(&self, out: &mut $crate::config::writer::TomlWriter) {
                $( out.$shape(table!(@name $field $($name)?), &self.$field); )*
            }

            /// Writes its keys, and those that it shares.
            #[allow(dead_code, reason = "some tables write a part")]
            pub(in crate::config) fn write(&self, out: &mut $crate::config::writer::TomlWriter) {
                self.write_own(out);
                $( $( self.$group.write(out); )* )?
            }
        }
    };

    (@own) => { None };
    (@own $why:literal) => { Some($why) };

    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };

    (@need required $example:literal) => { $crate::config::keys::Need::Required($example) };
    (@need one_of $example:literal) => { $crate::config::keys::Need::OneOf($example) };
    (@need optional $example:literal) => { $crate::config::keys::Need::Optional($example) };
    (@need derived $example:literal) => { $crate::config::keys::Need::Optional($example) };
    (@need default $value:literal) => { $crate::config::keys::Need::Default($value) };

    (@written one $type:ty) => { $crate::config::written::WrittenValue<$type> };
    (@written $shape:ident $type:ty) => { $crate::config::written::WrittenList<$type> };

    (@used one optional $type:ty) => { Option<$type> };
    (@used one $need:ident $type:ty) => { $type };
    (@used set $need:ident $type:ty) => { std::collections::BTreeSet<$type> };
    (@used one_or_set $need:ident $type:ty) => { std::collections::BTreeSet<$type> };
    (@used $shape:ident $need:ident $type:ty) => { Vec<$type> };

    (@take one optional $value:expr) => { $crate::config::written::one($value) };
    (@take one $need:ident $value:expr) => { $crate::config::written::one($value)? };
    (@take $shape:ident $need:ident $values:expr) => { $crate::config::written::all($values) };

    (@put one optional $value:expr) => { $value.clone().map($crate::config::written::nowhere) };
    (@put one $need:ident $value:expr) => { Some($crate::config::written::nowhere($value.clone())) };
    (@put $shape:ident $need:ident $values:expr) => { $crate::config::written::list($values) };
}
pub(super) use table;
