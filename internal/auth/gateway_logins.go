package auth

import (
	"context"
	"sync"
	"time"
)

// gatewayLogins limits wrong secrets of gateways by the limits that users have, but counts them
// separately, so that a gateway with a wrong secret locks out no user. A gateway that has logged in
// from an address no longer counts against the limit of that address: others behind the same
// address or proxy cannot lock it out.
type gatewayLogins struct {
	limiter loginLimiter

	mu    sync.Mutex
	known map[limitKeys]bool // gateways that have logged in, with their address
}

func (g *gatewayLogins) keys(addr, key string) limitKeys {
	k := keysOf(addr, "mqtt:"+key)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known[k] {
		k.address = k.user + ":address"
	} else {
		k.address += ":mqtt"
	}
	return k
}

func (g *gatewayLogins) remember(addr, key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= maxCounted {
		clear(g.known)
	}
	g.known[keysOf(addr, "mqtt:"+key)] = true
}

// BeginGatewayLogin counts an attempt of the gateway with this key to log in from addr. It returns
// 0, or how long the gateway has to wait after too many wrong secrets.
func (a *Auth) BeginGatewayLogin(
	ctx context.Context, addr, key string,
) (wait time.Duration, err error) {
	attempt, err := a.gateways.limiter.begin(ctx, a.gateways.keys(addr, key))
	return attempt.wait, err
}

// EndGatewayLogin takes the attempt back, because the secret was right, or because it could not be
// checked. After a wrong secret it is not called.
func (a *Auth) EndGatewayLogin(ctx context.Context, addr, key string, right bool) error {
	k := a.gateways.keys(addr, key)
	if !right {
		return a.gateways.limiter.undo(ctx, k)
	}
	a.gateways.remember(addr, key)
	return a.gateways.limiter.succeed(ctx, k)
}
