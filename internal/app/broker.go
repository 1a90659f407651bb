package app

import (
	"context"
	"errors"

	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/broker"
	"github.com/oei-ms/oei-ms/store"
)

// brokerAccess lets the broker ask the store who may connect.
func brokerAccess(st *store.Store, auth *auth.Auth) broker.Access {
	return broker.Access{
		BeginLogin: auth.BeginGatewayLogin,
		EndLogin:   auth.EndGatewayLogin,
		Login: func(ctx context.Context, key, secret string) (broker.Gateway, bool, error) {
			return loggedIn(st.Login(ctx, key, secret))
		},
		LoginCertificate: func(ctx context.Context, key string) (broker.Gateway, bool, error) {
			return loggedIn(st.LoginByCertificate(ctx, key))
		},
		HasGateway: st.HasGateway,
		AreValid: func(ctx context.Context, gateways []broker.Gateway) ([]bool, error) {
			principals := make([]store.Principal, len(gateways))
			for i, g := range gateways {
				principals[i] = principal(g)
			}
			return st.CheckPrincipals(ctx, principals)
		},
		Resume: func(
			ctx context.Context, client string, g broker.Gateway, clean, keep bool,
		) (bool, error) {
			return st.ResumeMQTTSession(ctx, client, principal(g), clean, keep)
		},
		Suspend: st.SuspendMQTTSession,
	}
}

func loggedIn(p store.Principal, err error) (g broker.Gateway, ok bool, _ error) {
	if errors.Is(err, store.ErrNotFound) {
		return broker.Gateway{}, false, nil
	}
	return broker.Gateway{ID: p.GatewayID, Key: p.GatewayKey, Credential: p.CredentialID},
		err == nil, err
}

func principal(g broker.Gateway) store.Principal {
	return store.Principal{GatewayID: g.ID, GatewayKey: g.Key, CredentialID: g.Credential}
}
