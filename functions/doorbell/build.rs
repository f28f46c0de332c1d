//! Links the function to run at a fixed address, as Go programs do. Otherwise the loader writes to each page of the
//! function's tables first, which takes a fourth of a start. Libraries, heap and stack keep random addresses.

fn main() {
    println!("cargo::rustc-link-arg-bins=-no-pie");
}
