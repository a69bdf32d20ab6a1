//! OpenSSL functions that the `openssl` crate has no safe form for, made safe here.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::ptr;

use foreign_types_shared::ForeignTypeRef;
use openssl::asn1::{Asn1GeneralizedTimeRef, Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Private};
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::stack::StackRef;
use openssl::x509::{X509, X509Ref};

unsafe extern "C" {
    fn SSL_CTX_set_cert_cb(
        ctx: *mut openssl_sys::SSL_CTX,
        callback: Option<unsafe extern "C" fn(*mut openssl_sys::SSL, *mut c_void) -> c_int>,
        argument: *mut c_void,
    );
    fn SSL_use_cert_and_key(
        ssl: *mut openssl_sys::SSL,
        certificate: *mut openssl_sys::X509,
        key: *mut openssl_sys::EVP_PKEY,
        chain: *mut openssl_sys::stack_st_X509,
        replace: c_int,
    ) -> c_int;
    fn SSL_set_session_id_context(
        ssl: *mut openssl_sys::SSL,
        context: *const c_uchar,
        octets: c_uint,
    ) -> c_int;
}

/// Longest session id context (`SSL_MAX_SID_CTX_LENGTH`).
pub const SESSION_CONTEXT_OCTETS: usize = 32;

/// The octets of an extension of the ClientHello, without type and length.
///
/// Only within a ClientHello callback; elsewhere `None`.
pub fn client_hello_extension(ssl: &SslRef, kind: u16) -> Option<&[u8]> {
    let mut octets: *const c_uchar = ptr::null();
    let mut length = 0usize;
    // SAFETY: `ssl` is live; the octets belong to its ClientHello, which outlives the callback
    // and with it the borrow of `ssl`.
    unsafe {
        let found = openssl_sys::SSL_client_hello_get0_ext(
            ssl.as_ptr(),
            c_uint::from(kind),
            &raw mut octets,
            &raw mut length,
        );
        match found {
            1 if length == 0 => Some(&[]),
            1 => Some(std::slice::from_raw_parts(octets, length)),
            _ => None,
        }
    }
}

/// A moment of an OCSP response, in seconds since 1970.
pub fn unix_time(time: &Asn1GeneralizedTimeRef) -> Result<i64, ErrorStack> {
    // SAFETY: to OpenSSL a GeneralizedTime is one of the two forms of an ASN1_TIME, of the same type; the
    // borrow is as long as that of `time`.
    let time = unsafe { Asn1TimeRef::from_ptr(time.as_ptr().cast()) };
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * 24 * 60 * 60 + i64::from(since.secs))
}

/// Binds the session to `context`: a ticket made under another context does not resume it.
pub fn bind_session(ssl: &mut SslRef, context: &[u8; SESSION_CONTEXT_OCTETS]) -> Result<(), ErrorStack> {
    // SAFETY: `ssl` is live; OpenSSL copies the octets, whose number it allows.
    let done = unsafe {
        SSL_set_session_id_context(ssl.as_ptr(), context.as_ptr(), SESSION_CONTEXT_OCTETS as c_uint)
    };
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// Presents a certificate, its key and its chain in this handshake; OpenSSL takes references.
pub fn present(
    ssl: &mut SslRef,
    certificate: &X509Ref,
    key: &PKeyRef<Private>,
    chain: &StackRef<X509>,
) -> Result<(), ErrorStack> {
    // SAFETY: all pointers are live; OpenSSL raises the count of each object that it keeps.
    let done =
        unsafe { SSL_use_cert_and_key(ssl.as_ptr(), certificate.as_ptr(), key.as_ptr(), chain.as_ptr(), 1) };
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// What [`on_certificate`] calls: whether a certificate was set.
pub type CertificateCallback = fn(&mut SslRef) -> bool;

/// Calls `callback` in each full handshake once a certificate is needed. `false` ends the
/// handshake with `internal_error`.
pub fn on_certificate(context: &mut SslContextBuilder, callback: CertificateCallback) {
    // SAFETY: a function pointer and a data pointer have the same size on every platform that
    // OpenSSL's `void *` callbacks work on; `raw_certificate_callback` casts it back.
    unsafe {
        SSL_CTX_set_cert_cb(context.as_ptr(), Some(raw_certificate_callback), callback as *mut c_void);
    }
}

unsafe extern "C" fn raw_certificate_callback(ssl: *mut openssl_sys::SSL, argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the function that `on_certificate` handed over; `ssl` is live during
    // the callback. A panic must not cross into C.
    unsafe {
        let callback: CertificateCallback = std::mem::transmute(argument);
        let ssl = SslRef::from_ptr_mut(ssl);
        let set = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| callback(ssl)));
        c_int::from(set.unwrap_or(false))
    }
}
