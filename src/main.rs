//! The command `conbool-milter`.

fn main() {}
