package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	saltBytes   = 16
	recordBytes = 4096 // what every push service takes (RFC 8030, 7.2)
	// headBytes stand before the ciphertext: salt, record size, length and bytes of the sender's key.
	headBytes = saltBytes + 4 + 1 + 65
	// sealedMore is by how much a sealed message is longer than its text: the head, the delimiter and
	// the tag.
	sealedMore = headBytes + 1 + 16
)

// seal encrypts a message for one subscription (RFC 8291), as the one record of an aes128gcm body
// (RFC 8188). sender is a key for this message alone.
func seal(text, receiverKey, auth []byte, sender *ecdh.PrivateKey, salt [saltBytes]byte) ([]byte, error) {
	if len(text)+sealedMore > recordBytes {
		return nil, fmt.Errorf("a message of %d bytes does not fit into a record", len(text))
	}
	receiver, err := ecdh.P256().NewPublicKey(receiverKey)
	if err != nil {
		return nil, errors.New("the subscription's key is not a point of P-256")
	}
	shared, err := sender.ECDH(receiver)
	if err != nil {
		return nil, fmt.Errorf("agree on a key: %w", err)
	}
	own := sender.PublicKey().Bytes()
	about := "WebPush: info\x00" + string(receiverKey) + string(own)
	secret, err := hkdf.Key(sha256.New, shared, auth, about, 32)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	box, nonce, err := boxOf(secret, salt[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(text)+sealedMore)
	out = append(out, salt[:]...)
	out = binary.BigEndian.AppendUint32(out, recordBytes)
	out = append(out, byte(len(own)))
	out = append(out, own...)
	const last = 2 // delimiter of the last record
	return box.Seal(out, nonce, append(append(make([]byte, 0, len(text)+1), text...), last), nil), nil
}

// boxOf derives the content encryption key and the nonce of the first record (RFC 8188, 2.2 and 2.3).
func boxOf(secret, salt []byte) (box cipher.AEAD, nonce []byte, err error) {
	key, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, nil, fmt.Errorf("derive a key: %w", err)
	}
	if nonce, err = hkdf.Key(sha256.New, secret, salt, "Content-Encoding: nonce\x00", 12); err != nil {
		return nil, nil, fmt.Errorf("derive a nonce: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a cipher: %w", err)
	}
	box, err = cipher.NewGCM(block)
	return box, nonce, err
}
