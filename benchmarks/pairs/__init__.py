"""Does every detector learn, and does every pair distil?"""
