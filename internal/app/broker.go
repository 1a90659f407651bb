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
			gateway, credential, err := st.Login(ctx, key, secret)
			if errors.Is(err, store.ErrNotFound) {
				return broker.Gateway{}, false, nil
			}
			return broker.Gateway{ID: gateway, Key: key, Credential: credential}, err == nil, err
		},
		Certified: func(ctx context.Context, key string) (broker.Gateway, bool, error) {
			credential, err := st.Certified(ctx, key)
			if errors.Is(err, store.ErrNotFound) {
				return broker.Gateway{}, false, nil
			}
			return broker.Gateway{ID: -credential, Key: key, Credential: credential}, err == nil, err
		},
		HasGateway: st.HasGateway,
		InForce:    st.InForce,
		Resume:     st.ResumeMQTTSession,
		Suspend:    st.SuspendMQTTSession,
	}
}
