"""Hyperledger Fabric's wire: messages, identities, signing, gateway, deliver and CA clients."""
