//! OpenSSL functions that the `openssl` crate has no safe form for, made safe here.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_long, c_uchar, c_uint, c_void};
use std::ptr;

use foreign_types_shared::ForeignTypeRef;
use openssl::asn1::{Asn1GeneralizedTimeRef, Asn1Time, Asn1TimeRef};
use openssl::cipher_ctx::CipherCtxRef;
use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Private};
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::stack::StackRef;
use openssl::x509::{X509, X509Ref};

use crate::domain::ticket::{KeyName, NAME_OCTETS, SECRET_OCTETS};

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
    fn SSL_CTX_set_tlsext_ticket_key_evp_cb(
        ctx: *mut openssl_sys::SSL_CTX,
        callback: Option<RawTicketCallback>,
    ) -> c_int;
    fn SSL_CTX_set_timeout(ctx: *mut openssl_sys::SSL_CTX, seconds: c_long) -> c_long;
    fn OSSL_PARAM_construct_utf8_string(
        key: *const c_char,
        buffer: *mut c_char,
        size: usize,
    ) -> openssl_sys::OSSL_PARAM;
}

type RawTicketCallback = unsafe extern "C" fn(
    ssl: *mut openssl_sys::SSL,
    name: *mut c_uchar,
    iv: *mut c_uchar,
    cipher: *mut openssl_sys::EVP_CIPHER_CTX,
    mac: *mut openssl_sys::EVP_MAC_CTX,
    encrypts: c_int,
) -> c_int;

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

/// Octets of the initialization vector of AES in CBC mode.
pub const IV_OCTETS: usize = 16;

/// What OpenSSL encrypts or decrypts one ticket with; the callback sets it up.
pub struct Ticket<'a> {
    /// The cipher.
    pub cipher: &'a mut CipherCtxRef,
    mac: *mut openssl_sys::EVP_MAC_CTX,
}

impl Ticket<'_> {
    /// Lets the ticket be authenticated by HMAC-SHA256 with this key.
    pub fn authenticate(&mut self, key: &[u8; SECRET_OCTETS]) -> Result<(), ErrorStack> {
        let (name, digest) = (c"digest", c"SHA256");
        // SAFETY: `mac` is live during the callback that this value belongs to. OpenSSL reads both texts and
        // the key before the call returns, and writes to none of them.
        let done = unsafe {
            let parameters = [
                OSSL_PARAM_construct_utf8_string(name.as_ptr(), digest.as_ptr().cast_mut(), 0),
                openssl_sys::OSSL_PARAM_construct_end(),
            ];
            openssl_sys::EVP_MAC_init(self.mac, key.as_ptr(), key.len(), parameters.as_ptr())
        };
        if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
    }
}

/// What becomes of a ticket that a client shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// Its key is not there: a full handshake.
    Unknown,
    /// It may be resumed.
    Good,
    /// It may be resumed, and the client gets another one.
    Renew,
}

/// Chooses the keys of tickets.
pub trait TicketCallback: Sized + 'static {
    /// Sets `ticket` up to be encrypted, with the name of its key and its initialization vector; `None`
    /// where no key does: then the client gets no ticket.
    fn encrypt(ssl: &SslRef, ticket: Ticket<'_>) -> Result<Option<(KeyName, [u8; IV_OCTETS])>, ErrorStack>;

    /// Sets `ticket` up to be decrypted.
    fn decrypt(
        ssl: &SslRef,
        name: &KeyName,
        iv: &[u8; IV_OCTETS],
        ticket: Ticket<'_>,
    ) -> Result<Shown, ErrorStack>;
}

/// Lets `T` choose the keys of tickets, in place of those that OpenSSL makes for each context.
pub fn on_ticket<T: TicketCallback>(context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    // SAFETY: `context` is live; the callback is a function that lives as long as the program.
    let done =
        unsafe { SSL_CTX_set_tlsext_ticket_key_evp_cb(context.as_ptr(), Some(raw_ticket_callback::<T>)) };
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// How long a session may be resumed; clients are told so with their tickets.
pub fn set_session_seconds(context: &mut SslContextBuilder, seconds: u32) {
    // SAFETY: `context` is live, and nobody else has it yet. What is returned is the time of before.
    unsafe { SSL_CTX_set_timeout(context.as_ptr(), c_long::from(seconds)) };
}

unsafe extern "C" fn raw_ticket_callback<T: TicketCallback>(
    ssl: *mut openssl_sys::SSL,
    name: *mut c_uchar,
    iv: *mut c_uchar,
    cipher: *mut openssl_sys::EVP_CIPHER_CTX,
    mac: *mut openssl_sys::EVP_MAC_CTX,
    encrypts: c_int,
) -> c_int {
    // SAFETY: all pointers are live during the callback, and `cipher` is nobody else's. `name` has the octets
    // of a name; `iv` has room for EVP_MAX_IV_LENGTH (16) of them, and where a ticket is decrypted it points
    // into one that OpenSSL found to be longer than name and vector. Where `encrypts` is 0 both are only read.
    // A panic must not cross into C.
    unsafe {
        let chosen = std::panic::catch_unwind(|| {
            let ssl = SslRef::from_ptr(ssl);
            let ticket = Ticket { cipher: CipherCtxRef::from_ptr_mut(cipher), mac };
            if encrypts == 0 {
                let (name, iv) = (&*name.cast::<KeyName>(), &*iv.cast::<[u8; IV_OCTETS]>());
                return T::decrypt(ssl, name, iv, ticket).map(|shown| match shown {
                    Shown::Unknown => 0,
                    Shown::Good => 1,
                    Shown::Renew => 2,
                });
            }
            let Some((key, vector)) = T::encrypt(ssl, ticket)? else { return Ok(0) };
            ptr::copy_nonoverlapping(key.as_ptr(), name, NAME_OCTETS);
            ptr::copy_nonoverlapping(vector.as_ptr(), iv, IV_OCTETS);
            Ok(1)
        });
        match chosen {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => -1,
        }
    }
}
