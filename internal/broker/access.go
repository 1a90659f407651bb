package broker

import (
	"context"
	"errors"
	"net"
	"time"
)

// Access decides which gateways may connect. Its functions are called from many goroutines.
type Access struct {
	// BeginLogin counts an attempt to log in with a secret. It returns 0, or how long the client
	// must wait after too many wrong secrets. EndLogin takes the attempt back when the secret was
	// right or could not be checked. Both may be nil: then attempts are not limited.
	BeginLogin func(ctx context.Context, address, key string) (wait time.Duration, err error)
	EndLogin   func(ctx context.Context, address, key string, right bool) error
	// Login returns the gateway with this key and secret.
	Login func(ctx context.Context, key, secret string) (g Gateway, ok bool, err error)
	// LoginCertificate returns the gateway with this key, which is the name in a verified
	// certificate. It may be nil: then a certificate needs a secret as well.
	LoginCertificate func(ctx context.Context, key string) (g Gateway, ok bool, err error)
	// HasGateway reports whether a gateway with one of these keys exists. It may be nil.
	HasGateway func(ctx context.Context, keys []string) (bool, error)
	// AreValid reports for each gateway whether its credential is still valid and its key is the
	// one that it logged in with.
	AreValid func(ctx context.Context, gateways []Gateway) ([]bool, error)
	// Resume reports whether the client has a session from before. clean says that the client
	// starts a clean session; keep, that the new session outlasts the connection. Suspend stores
	// for how long it does, when the connection has ended. Both may be nil: then no session
	// outlasts the broker, and a gateway whose client honours Session Present discards its
	// unacknowledged messages when the broker is restarted.
	Resume func(ctx context.Context, client string, g Gateway, clean, keep bool) (
		present bool, err error)
	Suspend func(ctx context.Context, client string, expiry time.Duration) error
}

// Gateway is a gateway that has logged in. Its id is its identity for as long as the connection
// lasts; its key is a name, which another gateway may be given meanwhile.
type Gateway struct {
	ID         int64
	Key        string // at the login
	Credential int64  // that it logged in with; 0: a certificate
}

const databaseAway = "the database is not available; try again later"

// maxKey is the maximum length of a gateway's key in bytes.
const maxKey = 64

// login returns the gateway that connects as key. A certificate must have that key as its name,
// and then replaces the secret. After too many wrong secrets, further ones are not checked for a
// while: wait says for how long.
func (b *Broker) login(
	ctx context.Context, c *conn, key, secret string,
) (g Gateway, ok bool, wait time.Duration, err error) {
	switch {
	case c.certName != "" && c.certName != key:
		return Gateway{}, false, 0, nil
	case c.certName != "" && secret == "" && b.access.LoginCertificate != nil:
		g, ok, err = b.access.LoginCertificate(ctx, key)
		return g, ok, 0, err
	case b.access.BeginLogin == nil:
		g, ok, err = b.access.Login(ctx, key, secret)
		return g, ok, 0, err
	}
	address, _, _ := net.SplitHostPort(c.socket.RemoteAddr().String())
	if wait, err = b.access.BeginLogin(ctx, address, key); wait > 0 || err != nil {
		return Gateway{}, false, wait, err
	}
	g, ok, err = b.access.Login(ctx, key, secret)
	if ok || err != nil {
		err = errors.Join(err, b.access.EndLogin(context.WithoutCancel(ctx), address, key, ok))
	}
	return g, ok, 0, err
}

// isOthersID reports whether a client id that begins with key and a colon belongs to another
// gateway: keys may contain colons, so that gateway's key may be longer.
func (b *Broker) isOthersID(ctx context.Context, id, key string) (bool, error) {
	var longer []string
	for n := len(key) + 1; n <= min(len(id), maxKey); n++ {
		if n == len(id) || id[n] == ':' {
			longer = append(longer, id[:n])
		}
	}
	if len(longer) == 0 || b.access.HasGateway == nil {
		return false, nil
	}
	return b.access.HasGateway(ctx, longer)
}

// isCredentialValid reports whether the session's credential is still valid and its gateway
// still has the key that it logged in with.
func (b *Broker) isCredentialValid(ctx context.Context, s *session) (bool, error) {
	valid, err := b.access.AreValid(ctx, []Gateway{s.gateway})
	return err == nil && valid[0], err
}
