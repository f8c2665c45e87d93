//! Methods that set the fields of public options. So options are built in one expression, although
//! they may get more fields.

/// Gives a struct a method of the same name for each of these fields.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($options:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        impl $options {
            $(
                $(#[$attribute])*
                #[doc = concat!("Sets the field `", stringify!($field), "`.")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
