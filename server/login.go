package server

import (
	"context"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// Login answers POST /api/auth/login, JSON and form alike.
func (s *Server) Login(
	ctx context.Context, req api.LoginRequestObject,
) (api.LoginResponseObject, error) {
	var username, password string
	if req.JSONBody != nil {
		username, password = req.JSONBody.Username, req.JSONBody.Password
	} else {
		username, password = req.FormdataBody.Username, req.FormdataBody.Password
	}
	p, err := s.auth.login(ctx, callOf(ctx).addr, username, password)
	if err != nil {
		return nil, err
	}
	return api.Login200JSONResponse{IssuedTokensJSONResponse: s.newTokens(p)}, nil
}

// RefreshSession answers POST /api/auth/refresh.
func (s *Server) RefreshSession(
	ctx context.Context, req api.RefreshSessionRequestObject,
) (api.RefreshSessionResponseObject, error) {
	p, err := s.auth.refresh(ctx, req.Body.RefreshToken)
	if err != nil {
		return nil, err
	}
	return api.RefreshSession200JSONResponse{IssuedTokensJSONResponse: s.newTokens(p)}, nil
}

func (s *Server) newTokens(p pair) api.IssuedTokensJSONResponse {
	return api.IssuedTokensJSONResponse{
		Body: api.Tokens{
			AccessToken:  p.access,
			RefreshToken: p.refresh,
			TokenType:    api.TokensTokenTypeBearer,
			ExpiresIn:    int(s.cfg.AccessTTL.Seconds()),
		},
		Headers: api.IssuedTokensResponseHeaders{CacheControl: "no-store"},
	}
}

// Logout answers POST /api/auth/logout.
func (s *Server) Logout(
	ctx context.Context, _ api.LogoutRequestObject,
) (api.LogoutResponseObject, error) {
	if err := s.auth.logout(ctx, callOf(ctx).principal); err != nil {
		return nil, err
	}
	return api.Logout204Response{}, nil
}

// GetCurrentUser answers GET /api/auth/me.
func (s *Server) GetCurrentUser(
	ctx context.Context, _ api.GetCurrentUserRequestObject,
) (api.GetCurrentUserResponseObject, error) {
	return api.GetCurrentUser200JSONResponse(userJSON(callOf(ctx).principal.User)), nil
}

// ChangePassword answers PUT /api/auth/me/password.
func (s *Server) ChangePassword(
	ctx context.Context, req api.ChangePasswordRequestObject,
) (api.ChangePasswordResponseObject, error) {
	c := callOf(ctx)
	if err := s.auth.changePassword(ctx, c.addr, c.principal, req.Body.CurrentPassword,
		req.Body.NewPassword); err != nil {
		return nil, err
	}
	return api.ChangePassword204Response{}, nil
}

func userJSON(u store.User) api.User {
	return api.User{
		ID:          u.ID,
		Username:    u.Username,
		Email:       u.Email,
		Role:        api.Role(u.Role),
		IsActive:    u.IsActive,
		IsSuperuser: u.Role == store.Admin,
		CreatedAt:   u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(),
	}
}
