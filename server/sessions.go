package server

import (
	"context"
	"errors"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/auth"
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
	t, limits, err := s.auth.Login(ctx, callOf(ctx).addr, username, password)
	setRateLimit(callOf(ctx).header, limits...)
	if err != nil {
		return nil, err
	}
	return api.Login200JSONResponse{IssuedTokensJSONResponse: tokensJSON(t)}, nil
}

// RefreshSession answers POST /api/auth/refresh.
func (s *Server) RefreshSession(
	ctx context.Context, req api.RefreshSessionRequestObject,
) (api.RefreshSessionResponseObject, error) {
	t, err := s.auth.Refresh(ctx, callOf(ctx).addr, req.Body.RefreshToken)
	if reused, ok := errors.AsType[*auth.ReusedTokenError](err); ok {
		s.hub.EndSession(reused.SessionID)
	}
	if err != nil {
		return nil, err
	}
	return api.RefreshSession200JSONResponse{IssuedTokensJSONResponse: tokensJSON(t)}, nil
}

func tokensJSON(t auth.Tokens) api.IssuedTokensJSONResponse {
	return api.IssuedTokensJSONResponse{
		Body: api.Tokens{
			AccessToken:  t.Access,
			RefreshToken: t.Refresh,
			TokenType:    api.TokensTokenTypeBearer,
			ExpiresIn:    int(t.ExpiresIn.Seconds()),
		},
		Headers: api.IssuedTokensResponseHeaders{CacheControl: "no-store"},
	}
}

// Logout answers POST /api/auth/logout.
func (s *Server) Logout(
	ctx context.Context, _ api.LogoutRequestObject,
) (api.LogoutResponseObject, error) {
	p := callOf(ctx).principal
	if err := s.auth.Logout(ctx, p); err != nil {
		return nil, err
	}
	s.hub.EndSession(p.SessionID)
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
	limits, err := s.auth.ChangePassword(ctx, c.addr, c.principal, req.Body.CurrentPassword,
		req.Body.NewPassword)
	setRateLimit(c.header, limits...)
	if errors.Is(err, auth.ErrWrongCredentials) {
		return nil, invalid("current_password", "is wrong")
	}
	if err != nil {
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
