package auth

import (
	"context"
	"fmt"

	"github.com/oei-ms/oei-ms/store"
)

// FirstAdmin creates an admin when there are no users, with the configured password or a generated
// one. A generated password is returned, to be shown once: only its hash is stored.
func (a *Auth) FirstAdmin(ctx context.Context) (created bool, password string, err error) {
	hasUsers, err := a.store.HasUsers(ctx)
	if err != nil {
		return false, "", err
	}
	if hasUsers {
		if a.cfg.AdminPassword != "" {
			a.log.InfoContext(ctx, "ignored ADMIN_PASSWORD, users exist",
				"hint", "set the password of a user with `oei-ms user passwd`")
		}
		return false, "", nil
	}
	chosen := a.cfg.AdminPassword
	if chosen == "" {
		password = NewPassword()
		chosen = password
	}
	hash, err := HashPassword(chosen)
	if err != nil {
		return false, "", fmt.Errorf("first admin: %w", err)
	}
	created, err = a.store.CreateFirstUser(ctx, store.User{
		Username:     a.cfg.AdminUsername,
		Email:        a.cfg.AdminUsername + "@localhost",
		PasswordHash: hash,
		Role:         store.Admin,
		IsActive:     true,
	})
	if err != nil || !created {
		return false, "", err
	}
	return true, password, nil
}
