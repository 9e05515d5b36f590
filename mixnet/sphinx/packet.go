package sphinx

import (
	"fmt"
	"io"
)

// NewPacket returns a packet of Overhead + len(payload) bytes for the first hop
// of the path, whose last hop will have payload. It reads 32 bytes from rand, and
// 82 for each hop that the path is shorter than MaxHops.
//
// Its errors are ErrPath, wrapped with the reason, and those of rand.
func NewPacket(rand io.Reader, path []Hop, payload []byte) ([]byte, error) {
	if err := checkPath(path, false); err != nil {
		return nil, err
	}
	h, err := newHeader(rand, path)
	if err != nil {
		return nil, err
	}
	defer h.erase()

	packet := make([]byte, Overhead+len(payload))
	copy(packet, h.bytes[:])
	copy(packet[Overhead:], payload)
	for i := len(path) - 1; i >= 0; i-- {
		encryptPayload(h.keys[i].aezKey(), h.keys[i].iv(), packet[HeaderSize:])
	}
	return packet, nil
}

// SURBKeys open the reply that was sent with a SURB: 64 bytes for each hop, last
// hop first, then 64 for whoever used the SURB. They are as secret as the reply.
type SURBKeys []byte

// NewSURB returns a single-use reply block of SURBSize bytes (header | id of the
// first hop | AEZ key 48 | IV 16), and the keys that open the reply, which arrives
// at the last hop of the path. It reads from rand what NewPacket does, then 64
// bytes. Its errors are NewPacket's.
func NewSURB(rand io.Reader, path []Hop) (surb []byte, keys SURBKeys, err error) {
	if err := checkPath(path, true); err != nil {
		return nil, nil, err
	}
	h, err := newHeader(rand, path)
	if err != nil {
		return nil, nil, err
	}
	defer h.erase()

	var own [sprpSize]byte
	defer clear(own[:])
	if _, err := io.ReadFull(rand, own[:]); err != nil {
		return nil, nil, fmt.Errorf("sphinx: reading a payload key: %w", err)
	}
	surb = make([]byte, 0, SURBSize)
	surb = append(surb, h.bytes[:]...)
	surb = append(surb, path[0].ID[:]...)
	surb = append(surb, own[:]...)

	keys = make(SURBKeys, 0, (len(path)+1)*sprpSize)
	for i := len(path) - 1; i >= 0; i-- {
		keys = append(keys, h.keys[i].aezKey()...)
		keys = append(keys, h.keys[i].iv()...)
	}
	keys = append(keys, own[:]...)
	return surb, keys, nil
}

// PacketFromSURB returns a packet of Overhead + len(payload) bytes, which goes to
// the node named first. A SURB must not be used twice: the hops would take the
// second packet for a replay, and the two payloads share a key. It returns
// ErrSize, wrapped, for a SURB that is not SURBSize bytes.
func PacketFromSURB(surb, payload []byte) (packet []byte, first NodeID, err error) {
	if len(surb) != SURBSize {
		return nil, first, fmt.Errorf("sphinx: SURB of %d bytes: %w", len(surb), ErrSize)
	}
	header, surb := surb[:HeaderSize], surb[HeaderSize:]
	copy(first[:], surb)
	key, iv := surb[NodeIDSize:NodeIDSize+aezKeySize], surb[NodeIDSize+aezKeySize:]

	packet = make([]byte, Overhead+len(payload))
	copy(packet, header)
	copy(packet[Overhead:], payload)
	encryptPayload(key, iv, packet[HeaderSize:])
	return packet, first, nil
}

// OpenReply decrypts, in place, the payload that the last hop of a SURB delivered,
// and returns the plaintext, which aliases it. It returns ErrPayload if the reply
// was changed on its way or is not one to these keys, and ErrSize, wrapped, for
// one of fewer than TagSize bytes or keys of a wrong length.
func (keys SURBKeys) OpenReply(payload []byte) ([]byte, error) {
	hops := len(keys)/sprpSize - 1
	if len(keys)%sprpSize != 0 || hops < 1 || hops > MaxHops {
		return nil, fmt.Errorf("sphinx: SURB keys of %d bytes: %w", len(keys), ErrSize)
	}
	if len(payload) < TagSize {
		return nil, fmt.Errorf("sphinx: reply of %d bytes: %w", len(payload), ErrSize)
	}
	// Each hop took a layer off, the last hop last: put them on again.
	for len(keys) > sprpSize {
		encryptPayload(keys[:aezKeySize], keys[aezKeySize:sprpSize], payload)
		keys = keys[sprpSize:]
	}
	decryptPayload(keys[:aezKeySize], keys[aezKeySize:], payload)
	if !isZero(payload[:TagSize]) {
		return nil, ErrPayload
	}
	return payload[TagSize:], nil
}

// Erase overwrites the keys, after which they open nothing.
func (keys SURBKeys) Erase() { clear(keys) }
