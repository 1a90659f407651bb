package server

import (
	"context"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/store"
)

// ListCredentials answers GET /api/gateways/{id}/credentials.
func (s *Server) ListCredentials(
	ctx context.Context, req api.ListCredentialsRequestObject,
) (api.ListCredentialsResponseObject, error) {
	list, err := s.store.Credentials(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.ListCredentials200JSONResponse(mapSlice(list,
		func(c store.Credential) api.Credential {
			return api.Credential{
				ID:         c.ID,
				CreatedAt:  c.CreatedAt.UTC(),
				LastUsedAt: timeOrNull(c.LastUsedAt),
			}
		})), nil
}

// CreateCredential answers POST /api/gateways/{id}/credentials.
func (s *Server) CreateCredential(
	ctx context.Context, req api.CreateCredentialRequestObject,
) (api.CreateCredentialResponseObject, error) {
	secret := auth.NewSecret("gw_")
	c, key, revoked, err := s.store.AddCredential(ctx, req.ID, secret)
	if err != nil {
		return nil, err
	}
	return api.CreateCredential201JSONResponse{
		ID:        c.ID,
		ClientID:  key,
		Username:  key,
		Secret:    secret,
		CreatedAt: c.CreatedAt.UTC(),
		RevokedID: orNull(revoked),
	}, nil
}

// RevokeCredential answers DELETE /api/gateways/{id}/credentials/{credential_id}.
func (s *Server) RevokeCredential(
	ctx context.Context, req api.RevokeCredentialRequestObject,
) (api.RevokeCredentialResponseObject, error) {
	if err := s.store.RevokeCredential(ctx, req.ID, req.CredentialID); err != nil {
		return nil, err
	}
	return api.RevokeCredential204Response{}, nil
}
