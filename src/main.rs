//! The `layerwise` command: what was typed in, an exit code out.

use std::env;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
    static_c_library::look_names_up_within();
    ExitCode::from(layerwise::commands::main(env::args_os()))
}

/// What the GNU C library leaves to files beside it, for the binary that has it inside and runs where there may be no others.
#[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
mod static_c_library {
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::ptr;

    unsafe extern "C" {
        // <nss.h>
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }

    /// Hosts by `/etc/hosts` and DNS, users by `/etc/passwd`, whatever `/etc/nsswitch.conf` says: other services are shared objects
    /// of the system's C library, which need not be of the version in the binary, and are not to be loaded into it.
    pub(super) fn look_names_up_within() {
        for (database, services) in [(c"hosts", c"files dns"), (c"passwd", c"files")] {
            // SAFETY: both are strings that end in a zero and live as long as the program; no other thread runs yet.
            unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        }
    }

    /// Takes the place of the C library's own, which finds nothing in a static binary. Random numbers are asked of the system by a
    /// function that is looked up so, and of `/dev/random`, which an empty root does not have, where it is not found.
    ///
    /// # Safety
    /// `name` is a string that ends in a zero.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn dlsym(_: *mut c_void, name: *const c_char) -> *mut c_void {
        // SAFETY: the caller's.
        if unsafe { CStr::from_ptr(name) } == c"getrandom" {
            libc::getrandom as *const () as *mut c_void
        } else {
            ptr::null_mut()
        }
    }
}
